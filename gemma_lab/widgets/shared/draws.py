"""How each generated token of a trace was drawn, for the tints of the explorers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...trace.records.drafts import drafted_tokens
from .base import sendable
from .wire import strings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from ...lab import Lab
    from ...trace.trace import Trace


def draw_arrays(trace: Trace, lab: Lab | None = None) -> dict[str, NDArray[Any]]:
    """Return arrays about the generated tokens among a trace's rows, n of them; empty if there are none.

    Arrays: ``draw_tokens`` ``[n]``, their rows; ``logprob`` and ``forbidden`` float32 ``[n]``, NaN where a
    token was generated without a grammar; ``overruled`` ``[n]``; ``first_choice``, the model's own
    likeliest token where it was overruled, as text with its ends; ``drafted`` ``[n]``: 2 where a drafter's
    proposal was accepted, 1 where another one was rejected, 0 where there was none.

    Parameters
    ----------
    trace
        With or without a generated answer.
    lab
        Knows the text of every token; without it, those that are in the trace have one.
    """
    generation = trace.generation
    rows = np.flatnonzero(trace.tokens.generated)
    if generation is None or not len(rows):
        return {}
    known = slice(0, len(rows))  # the last generated token was not read: it has no row
    if not np.array_equal(trace.tokens.ids[rows], generation.ids[known]):
        return {}
    overruled = np.asarray(generation.overruled[known], dtype=bool)
    first = np.where(overruled, generation.first_choice_ids[known], -1)
    outcomes = drafted_tokens(trace.meta, len(generation)) or [None] * len(generation)
    names = _names(trace, first[overruled].tolist(), lab)
    return {
        "draw_tokens": rows.astype(np.uint32),
        "logprob": np.asarray(generation.logprobs[known], dtype=np.float32),
        "forbidden": np.asarray(generation.forbidden[known], dtype=np.float32),
        "overruled": overruled.astype(np.uint8),
        "drafted": np.array([0 if one is None else 1 + one for one in outcomes[known]], dtype=np.uint8),
        **strings("first_choice", [names.get(index, "") for index in first.tolist()]),
    }


def _names(trace: Trace, ids: Iterable[int], lab: Lab | None) -> dict[int, str]:
    """Return the texts of token ids: from the trace, else from the model's vocabulary, else their numbers."""
    known = {
        int(index): str(piece).replace("▁", " ")
        for index, piece in zip(trace.tokens.ids.tolist(), trace.tokens.pieces.tolist(), strict=True)
    }
    if trace.logit_lens is not None:
        known |= {int(index): str(text) for index, text in trace.logit_lens.token_texts.items()}
    processor: Any = getattr(lab, "processor", None)
    tokenizer = getattr(processor, "tokenizer", processor)
    names: dict[int, str] = {}
    for index in set(ids):
        text = known.get(index)
        if text is None and tokenizer is not None:
            text = str(tokenizer.decode([index]))
        names[index] = sendable(text or f"<id {index}>")
    return names
