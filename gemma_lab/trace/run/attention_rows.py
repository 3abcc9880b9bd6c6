"""Rows of a recorded trace, fetched again from the model: what ``Lab.attention_rows`` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import BadEdit, BadTrace, LabError
from ...interventions.apply import editing, in_force
from ...interventions.edit import Edit
from ...models.chat.chunked_prefill import read, up_to
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import Prompt, read_again
from ..probes.attention.probe import AttentionProbe
from ..probes.recorder import Recorder
from ..records.attention import AttentionRequest
from .media_digests import digests

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from ..trace import Trace

Row = np.ndarray[Any, np.dtype[np.float32]]

_AT_ONCE = "Ask for rows when you trace: AttentionRequest(rows=(…))."


def attention_rows(
    lab: LoadedModel, trace: Trace, queries: Iterable[int], *, layers: Iterable[int] | None = None
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
    said = _longer(prompt, trace.tokens.ids.tolist(), device=lab.device)
    request = AttentionRequest(
        layers=None if layers is None else tuple(layers), rows=tuple(wanted), top_k=0, pooled=False,
        statistics=False,
    )  # fmt: skip
    probe = AttentionProbe(request)
    with (
        _as_it_was(lab, trace) as edit, lab.lock,
        raise_on_out_of_memory(lab.device, lambda: "while rows were read again"),
    ):  # fmt: skip
        if in_force(lab.model) != edit:  # now that the lab is ours: another thread may have edited it
            raise _another_edit()
        # as the run was: the prompt in its pieces, then what was generated token by token
        stops = (*plan(lab, prompt).stops, *range(len(prompt.ids) + 1, len(said.ids) + 1))
        last = next(number for number, stop in enumerate(stops) if stop > wanted[-1])
        with Recorder(lab.model, [probe]), torch.no_grad():
            read(lab, said, stops[: last + 1])
    found = probe.result()
    return {
        (layout.layer, query): found.row(layout.layer, query) for layout in found.layers for query in wanted
    }


def _prompt(lab: LoadedModel, trace: Trace) -> Prompt:
    """Return the prompt of a trace with its pictures, as far as it was read."""
    if trace.meta.get("model") != lab.name:
        raise BadTrace(
            f"The trace is of {trace.meta.get('model')}, and this lab has {lab.name}.",
            hint="Load the model of the trace.",
        )
    text = str(trace.meta.get("prompt", ""))
    if "<|video|>" in text or "<|audio|>" in text or text.count("<|image|>") != len(trace.images):
        raise BadTrace(
            "The trace does not hold the media that its prompt has, so it cannot be read again.",
            hint=f"{_AT_ONCE} Pictures that were read are kept by trace.save(…, images=True).",
        )
    ids = trace.tokens.ids.tolist()
    max_soft_tokens = trace.meta.get("max_soft_tokens")
    again = read_again(lab, text, images=trace.images, max_soft_tokens=max_soft_tokens)
    if digests(again) != trace.meta.get("media", []):
        raise BadTrace(
            "The pictures of the trace are not those that it was made with.",
            hint="Trace again, or open the file that trace.save(…, images=True) wrote.",
        )
    count = int((~trace.tokens.generated).sum())
    if again.ids[:count] != ids[:count]:
        raise BadTrace(
            "The prompt of the trace gives other tokens now.",
            hint="Its checkpoint or processor has changed; trace again.",
        )
    return up_to(again, count)  # where the trace was interrupted


def _longer(prompt: Prompt, ids: list[int], *, device: Any) -> Prompt:
    """Return a prompt with all ids of its trace, those of the answer included."""
    shape = prompt.inputs["input_ids"].shape
    found = {}
    for name, value in prompt.inputs.items():
        if value.shape == shape and name != "input_ids":
            more = value.new_full((1, max(0, len(ids) - shape[1])), 1 if name == "attention_mask" else 0)
            value = torch.cat([value, more], dim=1)
        found[name] = value
    return replace(prompt, ids=ids, inputs=found | {"input_ids": torch.tensor([ids], device=device)})


@contextmanager
def _as_it_was(lab: LoadedModel, trace: Trace) -> Iterator[Edit]:
    """Apply the edit that the trace was made under, unless it is in force already; give that edit."""
    try:
        made = Edit.from_dict(trace.meta.get("edit") or {})
        again = editing(lab, made)
    except BadEdit as error:
        raise BadTrace(
            f"The edit that the trace was made under cannot be applied again: {error.what}",
            hint=f"Load the model of the trace as it was, or trace again inside lab.edit(…). {_AT_ONCE}",
        ) from error
    now = in_force(lab.model)
    if now and now != made:
        raise _another_edit()
    with nullcontext() if now else again:
        yield made


def _another_edit() -> LabError:
    return LabError(
        "The lab is under another edit than the trace was made with.",
        hint="Fetch rows outside the block of lab.edit(): the trace's own edit is applied meanwhile.",
    )
