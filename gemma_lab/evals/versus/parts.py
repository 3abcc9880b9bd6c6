"""From what was measured of both sides to the parts of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...analysis.alignment import common_prefix
from ...analysis.attention.distance import AttentionDistance, attention_distance
from ...analysis.comparison import texts_and_labels
from ...analysis.experts.flips import RoutingFlips, routing_flips
from ...models.chat.reply import Reply
from ..statistics import mcnemar_test
from .answers import AnswerPair, TokenDivergence
from .checkups import CheckupComparison, compare_checkups
from .comparison import Versus
from .reported import reported_bounds
from .resources import MemoryComparison, SpeedComparison

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...models.remote.reply import ServerReply
    from ...trace.trace import Trace
    from ..report import Checkup
    from .divergence import Divergence
    from .measurement import Measured, Shape

    Ints = NDArray[np.int64]

T = TypeVar("T")


class NotComparable(Exception):
    """Why a part of a comparison is absent; it becomes part of the result."""


@dataclass(frozen=True, eq=False)
class PairedReading:
    """The readings of one prompt and answer by both sides.

    Attributes
    ----------
    prompt
        Index of the prompt.
    answer
        Ids of the answer.
    first, second, control
        Traces of the first side, of the second, and of the first reading in two passes.
    rows
        The rows of the same tokens in the first two traces.
    divergence, noise
        Of the second from the first, and of the control from the first.
    """

    prompt: int
    answer: list[int]
    first: Trace
    second: Trace
    control: Trace
    rows: tuple[Ints, Ints]
    divergence: Divergence
    noise: Divergence


def paired_readings(
    one: Measured, other: Measured, compared: Mapping[int, Divergence], noise: Mapping[int, Divergence]
) -> list[PairedReading]:
    """Return the readings of the prompts that both sides read."""
    found = []
    for index, (answer, first, control) in enumerate(zip(one.answers, one.traces, one.controls, strict=True)):
        second = other.traces[index]
        if answer and first is not None and control is not None and second is not None:
            rows = aligned_rows(first, second)
            found.append(
                PairedReading(index, answer, first, second, control, rows, compared[index], noise[index])
            )
    return found


def aligned_rows(one: Trace, two: Trace) -> tuple[Ints, Ints]:
    """Return the rows of the same tokens in two traces: all, or the common end if the prompts differ.

    The answer is the same, so its rows are aligned in any case, with the row that predicts its first token.
    """
    ids = [trace.tokens.ids.tolist() for trace in (one, two)]
    if ids[0] == ids[1]:
        rows = np.arange(len(ids[0]))
        return rows, rows
    answer = int(one.tokens.generated.sum()) + 1
    length = min(max(common_prefix(ids[0][::-1], ids[1][::-1]), answer), *map(len, ids))
    first, second = (np.arange(len(each) - length, len(each)) for each in ids)
    return first, second


def assemble(
    one: Measured,
    other: Measured,
    labels: Sequence[str],
    readings: Sequence[PairedReading],
    speed: SpeedComparison | None,
    *,
    names: tuple[str, str] | None,
) -> Versus:
    """Return the comparison of two measured sides.

    Parameters
    ----------
    one, other
        The sides.
    labels
        The prompts, shortened.
    readings
        What both read.
    speed
        The speeds; None if they were not measured.
    names
        Titles given by the user.
    """
    absent: dict[str, str] = {}

    def part(name: str, compute: Callable[[], T]) -> T | None:
        try:
            return compute()
        except NotComparable as reason:
            absent[name] = str(reason)
            return None

    columns = _columns(readings)
    tokens = part("tokens", lambda: _tokens(one, other, readings, columns))
    routing = part("routing", lambda: _routing(one, other, readings))
    attention = part("attention", lambda: _attention(one, other, readings))
    if tokens is not None and len(readings) < len(labels):
        absent["some prompts"] = _refusals(one, other, len(labels) - len(readings))
    return Versus(
        names=names or _titles(one, other),
        descriptions=(one.description, other.description),
        answers=tuple(_pair(one, other, label, index) for index, label in enumerate(labels)),
        checkup=part("checkup", lambda: _checkups(one, other)),
        tokens=tokens,
        routing=routing,
        routing_noise=None if routing is None else _routing_noise(readings),
        attention=attention,
        attention_noise=None if attention is None else _attention_noise(readings),
        memory=part("memory", lambda: _memory(one, other)),
        speed=part("speed", lambda: _present(speed, "not asked for, or no answer has two tokens to time")),
        columns=columns,
        traces=tuple(zip(one.traces, other.traces, strict=True)),
        vocabulary=one.names | other.names,
        absent=absent,
    )


def _present(value: T | None, reason: str) -> T:
    if value is None:
        raise NotComparable(reason)
    return value


def _columns(readings: Sequence[PairedReading]) -> Ints:
    listed = [np.column_stack([np.full(len(r.rows[0]), r.prompt), *r.rows]) for r in readings]
    return np.concatenate([np.empty((0, 3), dtype=np.int64), *listed]).astype(np.int64)


def _tokens(
    one: Measured, other: Measured, readings: Sequence[PairedReading], columns: Ints
) -> TokenDivergence:
    if not readings:
        raise NotComparable(_why_unread(one, other))
    place = {(int(prompt), int(row)): index for index, (prompt, row, _) in enumerate(columns)}
    prompts = np.concatenate([np.full(len(r.answer), r.prompt) for r in readings])
    rows = np.concatenate([len(r.first) - len(r.answer) + np.arange(len(r.answer)) for r in readings])
    tops = np.concatenate([r.divergence.top_ids for r in readings])
    same = np.concatenate([r.noise.top_ids[:, 0] == r.noise.top_ids[:, 1] for r in readings])
    return TokenDivergence(
        prompt=prompts,
        row=rows,
        column=np.asarray([place[p, r] for p, r in zip(prompts.tolist(), rows.tolist(), strict=True)]),
        ids=np.concatenate([r.answer for r in readings]),
        labels=tuple(label for r in readings for label in texts_and_labels(r.first)[1]),
        kl=np.concatenate([r.divergence.kl for r in readings]),
        top_ids=tops,
        logprobs=np.concatenate([r.divergence.logprobs for r in readings]),
        noise=np.concatenate([r.noise.kl for r in readings]),
        noise_agreement=float(same.mean()),
        chance_agreement=_chance_agreement(tops),
        uniform_kl=float(np.concatenate([r.divergence.uniform for r in readings]).mean()),
    )


def _chance_agreement(tops: Ints) -> float:
    """Return how often the likeliest tokens of two different positions are the same."""
    count = len(tops)
    if count < 2:
        return float("nan")
    left, right = (
        dict(zip(*(each.tolist() for each in np.unique(side, return_counts=True)), strict=True))
        for side in tops.T
    )
    pairs = sum(n * right.get(index, 0) for index, n in left.items())
    same = int((tops[:, 0] == tops[:, 1]).sum())
    return float((pairs - same) / (count * (count - 1)))


def _routing(one: Measured, other: Measured, readings: Sequence[PairedReading]) -> RoutingFlips:
    first, second = _shapes(one, other, readings)
    if first.routers is None or second.routers is None:
        none = [side.name for side in (one, other) if side.shape and side.shape.routers is None]
        raise NotComparable("neither model has experts" if len(none) == 2 else f"{none[0]} has no experts")
    if first.routers != second.routers:
        raise NotComparable(
            f"not the same experts: {first.routers_text} in {one.name}, {second.routers_text} in {other.name}"
        )
    pairs = [(r.first.routing, r.second.routing, r.rows) for r in readings]
    return routing_flips(
        [a.select(rows[0]) for a, _, rows in pairs if a is not None],
        [b.select(rows[1]) for _, b, rows in pairs if b is not None],
    )


def _routing_noise(readings: Sequence[PairedReading]) -> RoutingFlips:
    return routing_flips(
        [r.first.routing.select(r.rows[0]) for r in readings if r.first.routing is not None],
        [r.control.routing.select(r.rows[0]) for r in readings if r.control.routing is not None],
    )


def _attention(one: Measured, other: Measured, readings: Sequence[PairedReading]) -> AttentionDistance:
    first, second = _shapes(one, other, readings)
    if first.heads != second.heads:
        raise NotComparable(
            f"not the same heads: {first.heads_text} in {one.name}, {second.heads_text} in {other.name}"
        )
    if all(r.first.attention is None for r in readings):
        raise NotComparable("not asked for (attention_rows=0)")
    same = [r for r in readings if len(r.rows[0]) == len(r.first) == len(r.second)]
    if not same:
        raise NotComparable("the models read every prompt as other tokens")
    return _attention_of((r.first, r.second) for r in same)


def _attention_noise(readings: Sequence[PairedReading]) -> AttentionDistance:
    return _attention_of((r.first, r.control) for r in readings)


def _attention_of(pairs: Iterable[tuple[Trace, Trace]]) -> AttentionDistance:
    recorded = [(a.attention, b.attention) for a, b in pairs]
    return attention_distance(
        [a for a, _ in recorded if a is not None], [b for _, b in recorded if b is not None]
    )


def _shapes(one: Measured, other: Measured, readings: Sequence[PairedReading]) -> tuple[Shape, Shape]:
    if not readings or one.shape is None or other.shape is None:
        raise NotComparable(_why_unread(one, other))
    return one.shape, other.shape


def _memory(one: Measured, other: Measured) -> MemoryComparison:
    if one.memory is None or other.memory is None:
        raise NotComparable(f"{_servers(one, other)}: its memory is its own")
    return MemoryComparison(one.memory, other.memory)


def _why_unread(one: Measured, other: Measured) -> str:
    """Return why no prompt was read by both sides."""
    if one.shape is None or other.shape is None:
        return f"{_servers(one, other)}: it gives answers, not what its model computes"
    if not one.same_vocabulary(other):
        sizes = one.shape.vocabulary[1], other.shape.vocabulary[1]
        return f"the models have different vocabularies ({sizes[0]:,} and {sizes[1]:,} tokens)"
    reasons = [*one.refused.values(), *other.refused.values()]
    return reasons[0] if reasons else "the first model answered nothing"


def _servers(one: Measured, other: Measured) -> str:
    names = [side.name for side in (one, other) if side.shape is None]
    return f"{' and '.join(names)} {'are servers' if len(names) == 2 else 'is a server'}"


def _refusals(one: Measured, other: Measured, count: int) -> str:
    reasons = dict.fromkeys([*one.refused.values(), *other.refused.values()])
    return f"{count} could not be read by both: {'; '.join(reasons) or 'no answer to read'}"


def _titles(one: Measured, other: Measured) -> tuple[str, str]:
    if one.name != other.name:
        return one.name, other.name
    return f"{one.name} (first)", f"{other.name} (second)"


def _pair(one: Measured, other: Measured, label: str, index: int) -> AnswerPair:
    first, second = one.replies[index], other.replies[index]
    shared: int | None = None
    bounds: tuple[float, ...] = ()
    if isinstance(first, Reply) and isinstance(second, Reply) and one.same_vocabulary(other):
        shared = common_prefix([token.id for token in first.tokens], [token.id for token in second.tokens])
    elif first is not None and second is not None:
        bounds = reported_bounds(first, second)
    notes = [f"{side.name}: {side.refused[index]}" for side in (one, other) if index in side.refused]
    return AnswerPair(
        label,
        None if first is None else _text(first),
        None if second is None else _text(second),
        shared,
        (_count(first), _count(second)),
        "; ".join(notes),
        bounds,
    )


def _count(reply: Reply | ServerReply | None) -> int | None:
    return len(reply.tokens) if isinstance(reply, Reply) else None if reply is None else reply.new_tokens


def _text(reply: Any) -> str:
    return " ".join(filter(None, (reply.text, *(call.text for call in reply.calls))))


def _checkups(one: Measured, other: Measured) -> CheckupComparison:
    first, second = one.checkup, other.checkup
    if first is None or second is None:
        raise NotComparable("not asked for (checkup=False)")
    correct = [_by_question(each) for each in (first, second)]
    left: dict[str, str] = {}
    tables = {}
    for skill in dict.fromkeys(key[0] for key in [*correct[0], *correct[1]]):
        both = [key for key in correct[0] if key in correct[1] and key[0] == skill]
        if both:
            tables[skill] = mcnemar_test(*([table[key] for key in both] for table in correct))
        else:
            left[skill] = "not asked of both models"
    if not tables:
        raise NotComparable("no question was asked of both models")
    return compare_checkups(
        tables,
        chance=first.chance | second.chance,
        not_compared=left | first.not_asked | second.not_asked,
    )


def _by_question(checkup: Checkup) -> dict[tuple[Any, ...], bool]:
    """Return the grades by skill and question; one that occurs twice is counted in its second place, too.

    A skill that is asked with and without a grammar is two, as in `Checkup.skills`.
    """
    found: dict[tuple[Any, ...], bool] = {}
    seen: dict[tuple[Any, ...], int] = {}
    for answer in checkup.answers:
        question = answer.question
        key = (question.skill, question.group, question.prompt, question.wanted, question.images,
               question.frames, question.sound)  # fmt: skip
        seen[key] = seen.get(key, 0) + 1
        found[*key, seen[key]] = answer.right
    for skill, accuracy in checkup.structured.items():
        for one in accuracy.answers:
            found[f"{skill} with grammar" if one.grammar else skill, one.number, one.case] = one.right
    return found
