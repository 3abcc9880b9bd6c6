"""One of the processes that share a model: ``torchrun … tensor_parallel_worker.py FOLDER OUT``.

Compares the split model with the whole one, which every process loads beside it, and writes what it found.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image

import gemma_lab as gl

PROMPT = "Hello there 12"
PICTURE = Image.new("RGB", (96, 96), (200, 30, 40))


def apart(one: Any, other: Any) -> float:
    """Return the largest difference of two arrays of the same shape."""
    assert np.shape(one) == np.shape(other)
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).max())


def difference(one: gl.Trace, other: gl.Trace) -> dict[str, Any]:
    """Return how far two traces are from each other."""
    assert one.routing is not None
    assert other.routing is not None
    found: dict[str, Any] = {
        "ids": bool(np.array_equal(one.routing.ids, other.routing.ids)),
        "gate_weights": apart(one.routing.gate_weights, other.routing.gate_weights),
        "entropy": apart(one.routing.entropy, other.routing.entropy),
        "output_fraction": apart(one.routing.expert_output_fraction, other.routing.expert_output_fraction),
    }
    if one.generation is not None and other.generation is not None:
        found["text"] = one.generation.text == other.generation.text
        found["logprobs"] = apart(one.generation.logprobs, other.generation.logprobs)
    if one.logit_lens is not None and other.logit_lens is not None:
        found["lens"] = bool(np.array_equal(one.logit_lens.ids, other.logit_lens.ids))
    return found


def refusals(split: gl.Lab, folder: Path) -> dict[str, str]:
    """Return the error of everything that a split model cannot do, by name; empty where there is none."""

    def edited() -> None:
        with split.edit(ablate_heads={1: [0]}):
            split.trace(PROMPT)

    def cut() -> None:
        knockout = gl.AttentionKnockout(queries=(3, None), keys=(0, 2), heads=[1])
        with split.edit(knock_out_attention=knockout):
            split.trace(PROMPT)

    calls = {
        "attention": lambda: split.trace(PROMPT, attention=True),
        "heads": edited,
        "knockout": cut,
        "quantization": lambda: gl.load(folder, tp_size=2, quantization="int8"),
        "drafter": lambda: gl.load(folder, tp_size=2, drafter="auto"),
        "device_map": lambda: gl.load(folder, tp_size=2, device_map="auto"),
        "processes": lambda: gl.load(folder, tp_size=4),
        "mini-moe": lambda: gl.load("mini-moe", tp_size=2),
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = ""
        except gl.LabError as error:
            found[name] = error.what
    return found


def main(folder: Path, out: Path) -> None:
    """Compare, and write the findings of the first process."""
    torch.set_num_threads(1)
    split = gl.load(folder, device="cpu", dtype="float32", tp_size=2)
    whole = gl.load(folder, device="cpu", dtype="float32")
    kept = {"logit_lens": True, "max_new_tokens": 5, "temperature": 0}
    found: dict[str, Any] = {
        "text": difference(*(lab.trace(PROMPT, **kept) for lab in (split, whole))),
        "picture": difference(*(lab.trace("What?", images=[PICTURE], **kept) for lab in (split, whole))),
        "after a knockout": None,
    }
    knockout = gl.AttentionKnockout(queries=(6, None), keys=(2, 4))
    for name, edit in (
        ("experts", {"ablate_experts": {0: [1, 2, 3]}}),
        ("knockout", {"knock_out_attention": knockout}),
    ):
        traces = []
        for lab in (split, whole):
            with lab.edit(**edit):
                traces.append(lab.trace(PROMPT, **kept))
        found[name] = difference(*traces)
    found["after a knockout"] = difference(*(lab.trace(PROMPT, **kept) for lab in (split, whole)))
    texts: list[Any] = [None, None]
    dist.all_gather_object(texts, split.chat(PROMPT, temperature=1.0, max_new_tokens=8).text)
    found["sampled alike"] = texts[0] == texts[1]
    found["refused"] = refusals(split, folder)
    if dist.get_rank() == 0:
        out.write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
