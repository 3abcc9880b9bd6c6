"""A prompt of 131,072 tokens traced by a mini on two cores, in a process of its own: time and peak memory.

``GEMMA_LAB_LONG=262144 pytest tests/benchmarks/test_long_prompt.py -s`` reports the whole context of the
family instead. Peak memory is what the system says the process had at most, libraries and weights included:
on Linux ``VmHWM``, since ``ru_maxrss`` counts what the process that started it held, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

TOKENS = int(os.environ.get("GEMMA_LAB_LONG", "131072"))
GB = 10**9
_RUN = """
import json, re, resource, sys, time
from pathlib import Path
import torch

torch.set_num_threads(min(2, torch.get_num_threads()))
import gemma_lab as gl

tokens, asked = int(sys.argv[1]), json.loads(sys.argv[2])
lab = gl.load("mini-moe", device="cpu", progress=False)
line = "The river was quiet in the morning. A small dog looked new at night. The sea felt cold. "
ids = lab.tokenizer(line * (tokens // 16), add_special_tokens=False)["input_ids"]
text = lab.tokenizer.decode(ids[: min(tokens, lab.context - 24)])

def peak():
    if sys.platform == "linux":
        return int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before = peak()
start = time.perf_counter()
trace = lab.trace(text, progress=True, **asked)
seconds = time.perf_counter() - start
print(json.dumps({
    "tokens": len(trace), "seconds": seconds, "peak": peak(), "before": before, "text": repr(trace),
    "prefill": trace.meta["prefill"], "threads": torch.get_num_threads(), "attention": repr(trace.attention),
}))
"""


@pytest.mark.parametrize("asked", [{}, {"attention": True}], ids=["routing", "attention"])
def test_a_mini_traces_a_long_prompt(record, asked):
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(TOKENS), json.dumps(asked)],
        check=False, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = json.loads(done.stdout.splitlines()[-1])
    case = f"{said['tokens']:,} tokens, {'routing and attention' if asked else 'routing'}"
    note = (
        f"{said['prefill']['chunks']} pieces, {said['threads']} threads; {said['before'] / GB:.2f} GB before"
    )
    whole = TOKENS == 131072
    record(
        "longest-prompt",
        said["prefill"]["tokens_read"],
        "≥ 131,072" if whole else "",
        "tokens",
        note,
        case=case,
    )
    record("longest-memory", said["peak"] / GB, "≤ 2" if whole else "", "GB", note, case=case)
    record("longest-time", said["seconds"], "", "s", note, case=case)
    assert said["prefill"]["complete"]
    assert said["tokens"] > 0.999 * TOKENS
    assert (said["attention"] != "None") == bool(asked)
    if TOKENS <= 131072:
        assert said["peak"] <= 2 * GB
