"""The heads and experts that look most important for an answer, by the records of the rows behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ...trace.trace import Trace
    from ..ablation.components import Unit

HEAD_STATISTIC = "largest weight on one token, mean of the answer's rows"
EXPERT_STATISTIC = "applied gate weight, sum over the answer's rows"


def rows_behind_answer(trace: Trace) -> NDArray[np.int64]:
    """Return the rows that decided the answer's tokens: of each, the row before it."""
    written = np.flatnonzero(trace.tokens.generated)
    first = int(written[0]) if len(written) else len(trace)
    return np.arange(first - 1, len(trace))


def head_scores(trace: Trace) -> dict[Unit, float]:
    """Return the statistic of every recorded head: how firmly it attends to one token of the text.

    Per row behind the answer the largest weight on a single key, the first token and the query itself left
    out: both are where heads attend that have nothing to read. The mean over the rows.
    """
    attention = trace.attention
    if attention is None:
        return {}
    rows = rows_behind_answer(trace)
    found: dict[Unit, float] = {}
    for layout in attention.layers:
        keys, weights = (np.asarray(each)[:, rows] for each in attention.top_keys(layout.layer))
        counted = np.where((keys > 0) & (keys != rows[None, :, None]), weights, 0)
        best = counted.max(axis=2).mean(axis=1)
        found |= {(layout.layer, head): float(best[at]) for at, head in enumerate(attention.heads)}
    return found


def head_kinds(trace: Trace) -> dict[Unit, str]:
    """Return whether each recorded head is in a local or a global layer."""
    attention = trace.attention
    if attention is None:
        return {}
    return {(one.layer, head): one.kind for one in attention.layers for head in attention.heads}


def expert_scores(trace: Trace) -> tuple[dict[Unit, float], dict[int, NDArray[np.int64]]]:
    """Return the statistic of every expert that the answer's rows chose, and the load of every expert.

    The statistic is the sum of the weights applied to its output; the load, by layer, how many tokens chose
    each expert, ``[experts]``.
    """
    routing = trace.routing
    if routing is None:
        return {}, {}
    rows = rows_behind_answer(trace)
    scores: dict[Unit, float] = {}
    load: dict[int, NDArray[np.int64]] = {}
    ids, weights = np.asarray(routing.ids), np.asarray(routing.weights, dtype=np.float64)
    for at, layer in enumerate(routing.layers):
        load[layer] = np.bincount(ids[at].ravel(), minlength=routing.experts)
        sums = _sums(ids[at][rows], weights[at][rows], routing.experts)
        scores |= {(layer, int(expert)): float(sums[expert]) for expert in np.flatnonzero(sums)}
    return scores, load


def with_room(scores: dict[Unit, float], room: Mapping[int, int]) -> dict[Unit, float]:
    """Return the units with the largest scores of each layer, as many as can be ablated there together.

    Random sets have as many of each layer as the candidates, so what is possible for these is for those.

    Parameters
    ----------
    scores
        Unit to its score.
    room
        By layer, how many units can be ablated.
    """
    left, kept = dict(room), set()
    for unit in sorted(scores, key=lambda unit: (-scores[unit], unit)):
        if left[unit[0]] > 0:
            left[unit[0]] -= 1
            kept.add(unit)
    return {unit: score for unit, score in scores.items() if unit in kept}


def _sums(ids: NDArray[Any], weights: NDArray[np.float64], experts: int) -> NDArray[np.float64]:
    sums = np.bincount(ids.ravel(), weights=np.abs(weights).ravel(), minlength=experts)
    return np.asarray(sums, dtype=np.float64)
