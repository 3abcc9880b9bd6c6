"""Running a traced request again, and two answers side by side."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError
from ..shared.base import sendable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ...models.chat.request import Request
    from ...trace.trace import Trace

#: A piece of an answer, and whether the other answer has something else there.
Side = list[list[Any]]


def request_of(trace: Trace) -> Request:
    """Return the request of a trace, to run it again.

    Raises
    ------
    LabError
        If the trace does not hold it, or not its media.
    """
    from ...models.chat.request import Request

    return Request.from_meta(trace.meta, trace.images)


def side_by_side(before: Trace, after: Trace) -> tuple[Side, Side]:
    """Return two answers in pieces, changed ones marked; they are aligned by their longest common runs."""
    one, other = _said(before), _said(after)
    match = SequenceMatcher(None, [token for token, _ in one], [token for token, _ in other], autojunk=False)
    sides: tuple[Side, Side] = ([], [])
    for what, start, stop, begin, end in match.get_opcodes():
        for side, said in zip(sides, (one[start:stop], other[begin:end]), strict=True):
            text = "".join(text for _, text in said)
            if text:
                side.append([sendable(text), what != "equal"])
    return sides


def changes(before: Trace, after: Trace) -> str:
    """Return in a line how an answer and the routing of its prompt changed.

    The routing is compared over the prompt, which both traces read: of all choices of an expert (token ×
    layer × rank) the part that the other trace made too.
    """
    one, other = _said(before), _said(after)
    match = SequenceMatcher(None, [token for token, _ in one], [token for token, _ in other], autojunk=False)
    kept = sum(block.size for block in match.get_matching_blocks())
    if not one and not other:
        answer = "no answer was asked for"
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
    """Return layer and expert pairs as the mapping that `Edit` takes."""
    found: dict[int, list[int]] = {}
    for layer, expert in pairs:
        found.setdefault(int(layer), []).append(int(expert))
    return {layer: sorted(set(experts)) for layer, experts in sorted(found.items())}


def named(experts: Mapping[int, Sequence[int]]) -> str:
    """Return experts by layer in words: ``expert 17 of layer 4``."""
    parts = [
        f"expert{'s' if len(of) > 1 else ''} {', '.join(map(str, of))} of layer {layer}"
        for layer, of in experts.items()
    ]
    return " and ".join(parts)


def _said(trace: Trace) -> list[tuple[int, str]]:
    """Return the generated tokens and what each shows; the last one was never read, so it has no row."""
    if trace.generation is None:
        return []
    texts = [str(text) for text in trace.tokens.texts[trace.tokens.generated]]
    ids = trace.generation.ids.tolist()
    texts += [""] * (len(ids) - len(texts))
    rest = trace.generation.text.removeprefix("".join(texts))
    if ids and not texts[-1] and rest != trace.generation.text:
        texts[-1] = rest
    return list(zip(ids, texts, strict=False))
