"""Comparison of two answers of one request, and experts in words."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...trace.trace import Trace

#: Spans of an answer: the text, and whether it differs from the other answer.
Side = list[list[Any]]


def side_by_side(before: Trace, after: Trace) -> tuple[Side, Side]:
    """Return the spans of two answers, aligned by their longest common runs of tokens."""
    one, other = _answer(before), _answer(after)
    match = SequenceMatcher(None, [token for token, _ in one], [token for token, _ in other], autojunk=False)
    sides: tuple[Side, Side] = ([], [])
    for what, start, stop, begin, end in match.get_opcodes():
        for side, span in zip(sides, (one[start:stop], other[begin:end]), strict=True):
            text = "".join(text for _, text in span)
            if text:
                side.append([sendable(text), what != "equal"])
    return sides


def changes(before: Trace, after: Trace) -> str:
    """Return how an answer and the routing of its prompt changed, in one line.

    The routing is compared over the prompt, which both traces read: the fraction of expert choices (token ×
    layer × rank) that both traces made.
    """
    one, other = _answer(before), _answer(after)
    match = SequenceMatcher(None, [token for token, _ in one], [token for token, _ in other], autojunk=False)
    kept = sum(block.size for block in match.get_matching_blocks())
    if not one and not other:
        answer = "no answer was generated"
    elif kept == len(one) == len(other):
        answer = "the answer is the same"
    else:
        answer = f"{len(one) - kept} of {len(one)} answer tokens changed"
    if before.routing is None or after.routing is None:
        return answer
    prompt = int(np.argmax(before.tokens.generated)) if before.tokens.generated.any() else len(before.tokens)
    prompt = min(prompt, len(after.tokens))
    if not prompt:
        return answer
    mine, theirs = before.routing.ids[:, :prompt], after.routing.ids[:, :prompt]
    same = (np.asarray(mine)[..., :, None] == np.asarray(theirs)[..., None, :]).any(-1).mean()
    return f"{answer} · {same:.1%} of the prompt’s expert choices are the same"


def ablated(pairs: Iterable[Sequence[int]]) -> dict[int, list[int]]:
    """Return pairs of layer and expert as the mapping that `Edit` takes."""
    experts: dict[int, list[int]] = {}
    for layer, expert in pairs:
        experts.setdefault(int(layer), []).append(int(expert))
    return {layer: sorted(set(chosen)) for layer, chosen in sorted(experts.items())}


def named(experts: Mapping[int, Sequence[int]]) -> str:
    """Return experts by layer in words: ``expert 17 of layer 4``."""
    parts = [
        f"expert{'s' if len(of) > 1 else ''} {', '.join(map(str, of))} of layer {layer}"
        for layer, of in experts.items()
    ]
    return " and ".join(parts)


def _answer(trace: Trace) -> list[tuple[int, str]]:
    """Return the generated tokens and their texts; the last one was never read, so it has no row."""
    if trace.generation is None:
        return []
    texts = [str(text) for text in trace.tokens.texts[trace.tokens.generated]]
    ids = trace.generation.ids.tolist()
    texts += [""] * (len(ids) - len(texts))
    rest = trace.generation.text.removeprefix("".join(texts))
    if ids and not texts[-1] and rest != trace.generation.text:
        texts[-1] = rest
    return list(zip(ids, texts, strict=False))
