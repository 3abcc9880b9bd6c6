"""What the shipped minis do on a device: the same as on the CPU, undisturbed by tracing, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.models.quantization.methods import load_method_names

from .figure import Figure, synchronize
from .probing import capture, input_ids

PROMPTS = ("Write 47 in German words.", "Which is larger, 12 or 21?", "Write 308 in French words.")
MINIS = ("mini-moe", "mini-edge")
DTYPES = (torch.float32, torch.bfloat16)


def exactness(device: torch.device) -> Iterator[Figure]:
    """Compare the minis on the device with the CPU, and traced with untraced, in float32 and bfloat16."""
    for name in MINIS:
        reference = _load(name, torch.device("cpu"), torch.float32)
        for dtype in DTYPES:
            lab, case = _load(name, device, dtype), f"{name}, {_name(dtype)}"
            yield from undisturbed(lab, case)
            yield from like_reference(lab, reference, case, exact=dtype is torch.float32)


def undisturbed(lab: gl.Lab, case: str) -> Iterator[Figure]:
    """Compare logits and answers with and without every probe.

    A device on which two untraced passes already differ (atomic additions in another order) is reported by
    ``gpu-repeated``; tracing can then not be identical either.
    """
    ids = input_ids(lab, PROMPTS[0])
    plain, again = _logits(lab, ids), _logits(lab, ids)
    with capture(lab, ids, routing=bool(lab.architecture.experts), attention=True):
        traced = _logits(lab, ids)
    yield Figure("gpu-repeated", case, _difference(plain, again), "", "= 0", "logits of two untraced passes")
    yield Figure("gpu-traced", case, _difference(plain, traced), "", "= 0", "logits traced and untraced")
    answers = [_answer(lab, prompt) for prompt in PROMPTS]
    traced_answers = [_traced_answer(lab, *pair) for pair in zip(PROMPTS, map(len, answers), strict=True)]
    same = _equal(answers, traced_answers)
    yield Figure("gpu-traced-answers", case, same, "", "= 1", "greedy answers traced and untraced, equal")


def like_reference(lab: gl.Lab, reference: gl.Lab, case: str, *, exact: bool) -> Iterator[Figure]:
    """Compare answers, logits, experts and attention with those of the same mini on the CPU in float32.

    Parameters
    ----------
    exact
        Whether the answers must be the same: in float32, but not in bfloat16.
    """
    prompt = PROMPTS[0]
    answers = [[_answer(each, one) for one in PROMPTS] for each in (lab, reference)]
    target = "= 1" if exact else ""
    yield Figure("gpu-greedy", case, _equal(*answers), "", target, "greedy answers equal to the CPU's")
    here, there = (_logits(each, input_ids(each, prompt)) for each in (lab, reference))
    yield Figure("gpu-logits", case, _difference(here, there), "", "", "largest difference from the CPU's")
    traces = [each.trace(prompt, attention=True, precision="full") for each in (lab, reference)]
    routings = [trace.routing for trace in traces]
    if routings[0] is not None and routings[1] is not None:
        same = float(np.mean(np.asarray(routings[0].ids) == np.asarray(routings[1].ids)))
        yield Figure("gpu-experts", case, same, "", "≥ 0.999" if exact else "", "experts equal to the CPU's")
    entropies = [trace.attention.per_query["entropy"] for trace in traces if trace.attention is not None]
    off = float(np.abs(np.asarray(entropies[0], np.float64) - np.asarray(entropies[1], np.float64)).max())
    note = "entropy of every attention row, largest difference from the CPU's"
    yield Figure("gpu-attention", case, off, "nats", "≤ 0.001" if exact else "", note)


def speed(device: torch.device, *, seconds: float = 3.0) -> Iterator[Figure]:
    """Measure generation of mini-moe, in tokens per second; small layers show what a launch costs."""
    for dtype in DTYPES:
        lab = _load("mini-moe", device, dtype)
        _answer(lab, PROMPTS[0])
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            count += len(_answer(lab, PROMPTS[0]))
        synchronize(device)
        rate = count / (time.perf_counter() - start)
        yield Figure("gpu-mini-decode", f"mini-moe, {_name(dtype)}", rate, "tokens/s", "", "one sequence")


def quantised(device: torch.device) -> Iterator[Figure]:
    """Load mini-moe by every method that packs weights while loading, some of which need a GPU.

    Reported are bits per weight as held, and answers that stay; a method that is not installed or does not
    run on the device is named with the reason.
    """
    reference = _load("mini-moe", device, torch.bfloat16)
    answers = [_answer(reference, prompt) for prompt in PROMPTS]
    for name in load_method_names():
        try:
            lab = gl.load("mini-moe", device=str(device), dtype="bfloat16", quantization=name, progress=False)
            same = _equal([_answer(lab, prompt) for prompt in PROMPTS], answers)
        except (LabError, RuntimeError) as error:  # RuntimeError: a library's kernel that this GPU has not
            what = getattr(error, "what", f"{type(error).__name__}: {error}")
            print(f"  {name}: not run. {what}", flush=True)
            continue
        note = f"answers equal to bfloat16's; {lab.bits().mean:.1f} bits per weight"
        yield Figure("gpu-quantised", f"mini-moe, {name}", same, "", "", note)


def _load(name: str, device: torch.device, dtype: torch.dtype) -> gl.Lab:
    return gl.load(name, device=str(device), dtype=dtype, progress=False)


def _answer(lab: gl.Lab, prompt: str) -> list[int]:
    return [token.id for token in lab.chat(prompt, temperature=0.0).tokens]


def _traced_answer(lab: gl.Lab, prompt: str, count: int) -> list[int]:
    generation = lab.trace(prompt, attention=True, max_new_tokens=count).generation
    return [] if generation is None else [int(one) for one in generation.ids]


@torch.no_grad()
def _logits(lab: Any, ids: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = lab.model(input_ids=ids, use_cache=False).logits
    return logits.float().cpu()


def _difference(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).abs().max())


def _equal(left: Sequence[list[int]], right: Sequence[list[int]]) -> float:
    return float(np.mean([one == other for one, other in zip(left, right, strict=True)]))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
