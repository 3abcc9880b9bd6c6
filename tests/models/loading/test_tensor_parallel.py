"""Two real processes share a model: traces, answers and edits are those of the whole one, or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import shapes, tensor_parallel_worker

import gemma_lab as gl
from gemma_lab.errors import LabError

pytest.importorskip("transformers.distributed.tensor_parallel", reason="needs a newer transformers")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What two processes found, with a tiny 26B-A4B of two KV heads in global layers, as the real one has."""
    folder, shrink = tmp_path_factory.mktemp("tensor_parallel"), shapes._shrink_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "_shrink_text", lambda text: shrink(text) | {"num_global_key_value_heads": 2})
        shapes.tiny_checkpoint("26B-A4B", folder / "model")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         tensor_parallel_worker.__file__, str(folder / "model"), str(folder / "found.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(gl.__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("what", ["text", "picture", "experts", "knockout", "after a knockout"])
def test_traces_are_those_of_the_whole_model(found, what):
    one = found[what]
    assert one["ids"]
    assert one["text"]
    assert one["lens"]
    assert one["logprobs"] < 1e-4
    assert one["gate_weights"] < 1e-4
    assert one["entropy"] < 2e-3  # stored in float16
    assert one["output_fraction"] < 2e-3


def test_processes_draw_the_same_tokens(found):
    assert found["sampled alike"]


def test_what_needs_whole_heads_or_matrices_is_refused(found):
    refused = found["refused"]
    assert all(refused.values())
    for name in ("attention", "heads", "knockout"):
        assert "divided among 2" in refused[name]
    for name in ("quantization", "drafter", "device_map"):
        assert name in refused[name]
    assert "2 processes were started" in refused["processes"]
    assert "1 KV heads" in refused["mini-moe"]


@pytest.mark.parametrize("size", [0, -1, True, "2", 2.0, 2])
def test_alone_there_is_one_process(size):
    with pytest.raises(LabError, match="tp_size"):
        gl.load("mini-moe", tp_size=size)
