"""Exact attention rows of a recorded trace, computed by reading its tokens again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import short_repr, whole_number
from ...errors import BadEdit, BadTrace, LabError
from ...models.chat.chunked_prefill import read, up_to
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.chat.prefill_plan import plan
from ...models.chat.prompt import Prompt, prepare
from ...models.chat.request import Request
from ...models.loading.restore import RestoreStack, restores_model
from ..interventions.apply import active_edit, editing
from ..interventions.edit import Edit
from ..probes.attention.probe import AttentionProbe
from ..probes.recorder import Recorder
from ..records.attention import AttentionRequest
from .assembly import with_answer
from .probe_setup import check_row_memory

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel
    from ..trace import Trace

Row = np.ndarray[Any, np.dtype[np.float32]]

_AT_ONCE = "Record the rows with the trace: AttentionRequest(rows=(…))."


@restores_model
def attention_rows(
    model: LoadedModel, trace: Trace, queries: Iterable[int], *, layers: Iterable[int] | None = None
) -> dict[tuple[int, int], Row]:
    """Return attention rows of a trace; see `Lab.attention_rows`."""
    wanted = _queries(queries, len(trace))
    if not wanted:
        return {}
    chosen = None if layers is None else tuple(layers)
    check_row_memory(model, wanted, layers=chosen)
    prompt = _prompt(model, trace)
    full = with_answer(prompt, trace.tokens.ids.tolist())
    request = AttentionRequest(layers=chosen, rows=tuple(wanted), top_k=0, pooled=False, statistics=False)
    probe = AttentionProbe(request)
    with (
        _edit_of(model, trace) as edit,
        RestoreStack() as restore,
        raise_on_out_of_memory(model.device, lambda: "while rows were read again"),
    ):
        restore.hold(model.lock)
        if active_edit(model.model) != edit:  # the lock is held only now: another thread may have edited it
            raise _another_edit()
        # in the chunks of the run: those of the prompt, then the answer token by token
        stops = (*plan(model, prompt).stops, *range(len(prompt.ids) + 1, len(full.ids) + 1))
        last = next(index for index, stop in enumerate(stops) if stop > wanted[-1])
        with Recorder(model.model, [probe]):
            read(model, full, stops[: last + 1])
    result = probe.result()
    return {
        (layout.layer, query): result.row(layout.layer, query) for layout in result.layers for query in wanted
    }


def _queries(queries: Any, count: int) -> list[int]:
    """Return queries sorted, each once, after checking that the trace has them."""
    if isinstance(queries, str | bytes) or not isinstance(queries, Iterable):
        raise LabError(
            f"queries is {short_repr(queries)}.", hint="Pass a list, e.g. lab.attention_rows(trace, [3])."
        )
    listed = [
        whole_number(f"queries[{index}]", query, minimum=0, maximum=count - 1)
        for index, query in enumerate(queries)
    ]
    return sorted(set(listed))


def _prompt(model: LoadedModel, trace: Trace) -> Prompt:
    """Return the prompt of a trace, as far as it was read."""
    if trace.meta.get("model") != model.name:
        raise BadTrace(
            f"The trace is of {trace.meta.get('model')}, and this model is {model.name}.",
            hint="Load the model of the trace.",
        )
    if trace.meta.get("adapter") != model.adapter:
        raise BadTrace(
            f"The trace was made with the adapter {_named(trace.meta.get('adapter'))}; active is "
            f"{_named(model.adapter)}.",
            hint="lab.adapters.enable(name), or lab.adapters.disable(), as it was then.",
        )
    try:
        prompt = prepare(model, Request.from_meta(trace.meta, trace.images))
    except LabError as error:
        raise BadTrace(
            f"The prompt of the trace cannot be read again: {error.what}",
            hint=f"{_AT_ONCE} Images are kept by trace.save(…, images=True), videos and sounds by no trace.",
        ) from error
    ids = trace.tokens.ids.tolist()
    count = int((~trace.tokens.generated).sum())
    if prompt.ids[:count] != ids[:count]:
        raise BadTrace(
            "The prompt of the trace gives other tokens now.",
            hint="Its checkpoint or processor has changed; trace again.",
        )
    return up_to(prompt, count)  # where the trace was interrupted


@contextmanager
def _edit_of(model: LoadedModel, trace: Trace) -> Iterator[Edit]:
    """Apply the edit that the trace was made under unless it is active; yield that edit."""
    try:
        edit = Edit.from_dict(trace.meta.get("edit") or {})
        again = editing(model, edit)
    except BadEdit as error:
        raise BadTrace(
            f"The edit that the trace was made under cannot be applied again: {error.what}",
            hint=f"Load the model of the trace as it was, or trace again inside lab.edit(…). {_AT_ONCE}",
        ) from error
    now = active_edit(model.model)
    if now and now != edit:
        raise _another_edit()
    with nullcontext() if now else again:
        yield edit


def _another_edit() -> LabError:
    return LabError(
        "The active edit is another than that of the trace.",
        hint="Call it outside lab.edit(): the edit of the trace is applied meanwhile.",
    )


def _named(adapter: Any) -> str:
    """Return the name of an adapter as a trace notes it, with the start of its digest."""
    if not isinstance(adapter, dict):
        return "none"
    return f"{adapter.get('name')} ({str(adapter.get('digest'))[:8]})"
