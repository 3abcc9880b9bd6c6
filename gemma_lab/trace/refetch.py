"""Rows of a recorded trace, fetched again from the model: what ``Lab.attention_rows`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import BadTrace, LabError
from ..models.prefill import plan
from ..models.prompt import Prompt, read_again
from ..models.reading import read, up_to
from ..models.shortage import enough_memory
from .attention import AttentionProbe
from .editing import editing, in_force
from .edits import Edit
from .looks import AttentionRequest
from .recorder import Recorder

if TYPE_CHECKING:
    from ..models.lab import Lab
    from .trace import Trace

Row = np.ndarray[Any, np.dtype[np.float32]]


def attention_rows(
    lab: Lab, trace: Trace, queries: Iterable[int], *, layers: Iterable[int] | None = None
) -> dict[tuple[int, int], Row]:
    """Return rows of a trace's attention, read once more; see `Lab.attention_rows`."""
    wanted = sorted({int(query) for query in queries})
    if not wanted:
        return {}
    if wanted[0] < 0 or wanted[-1] >= len(trace):
        raise LabError(
            f"Queries {wanted[0]:,} to {wanted[-1]:,} are not all rows of a trace of {len(trace):,} tokens.",
            hint="They count from 0.",
        )
    prompt = _prompt(lab, trace)
    request = AttentionRequest(
        layers=None if layers is None else tuple(layers), rows=tuple(wanted), top_k=0, maps=False,
        statistics=False,
    )  # fmt: skip
    probe = AttentionProbe(request)
    with _as_it_was(lab, trace), lab.lock, enough_memory(lab.device, lambda: "while rows were read again"):
        stops = plan(lab, prompt).stops
        last = next(number for number, stop in enumerate(stops) if stop > wanted[-1])
        with Recorder(lab.model, [probe]), torch.no_grad():
            read(lab, prompt, stops[: last + 1])
    found = probe.result()
    return {
        (layout.layer, query): found.row(layout.layer, query) for layout in found.layers for query in wanted
    }


def _prompt(lab: Lab, trace: Trace) -> Prompt:
    """Return the tokens of a trace, those of the answer included, as one prompt with its pictures."""
    kinds = set(trace.tokens.modalities)
    if trace.meta.get("model") != lab.name:
        raise BadTrace(
            f"The trace is of {trace.meta.get('model')}, and this lab has {lab.name}.",
            hint="Load the model of the trace.",
        )
    if kinds & {"video", "audio"} or ("image" in kinds and not trace.images):
        raise BadTrace(
            "The trace does not hold the media that its prompt has, so it cannot be read again.",
            hint="Ask for rows when you trace: AttentionRequest(rows=(…)). Pictures are kept by "
            "trace.save(…, images=True).",
        )
    ids = trace.tokens.ids.tolist()
    budget = trace.meta.get("budget")
    again = read_again(lab, str(trace.meta.get("prompt", "")), images=trace.images, budget=budget)
    count = int((~trace.tokens.generated).sum())
    if again.ids[:count] != ids[:count]:
        raise BadTrace(
            "The prompt of the trace gives other tokens now.",
            hint="Its checkpoint, processor or pictures have changed; trace again.",
        )
    again = up_to(again, len(ids))  # where the trace was interrupted
    return replace(again, ids=ids, inputs=_longer(again.inputs, ids, device=lab.device))


def _longer(inputs: dict[str, Any], ids: list[int], *, device: Any) -> dict[str, Any]:
    """Return a prompt's inputs with other ids, which go on after it."""
    shape = inputs["input_ids"].shape
    found = {}
    for name, value in inputs.items():
        if value.shape == shape and name != "input_ids":
            more = value.new_full((1, max(0, len(ids) - shape[1])), 1 if name == "attention_mask" else 0)
            value = torch.cat([value, more], dim=1)
        found[name] = value
    return found | {"input_ids": torch.tensor([ids], device=device)}


@contextmanager
def _as_it_was(lab: Lab, trace: Trace) -> Iterator[None]:
    """Apply the edit that the trace was made under."""
    made, now = trace.meta.get("edit"), in_force(lab.model)
    if now and now.to_dict() != made:
        raise LabError(
            "The lab is under another edit than the trace was made with.",
            hint="Fetch rows outside the block of lab.edit().",
        )
    with editing(lab, None if made is None or now else Edit.from_dict(made)):
        yield
