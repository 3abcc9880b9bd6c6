"""Classification of attention heads by published tests with stated thresholds.

Every score is a mean attention weight, 0 to 1, over the queries to which the test applies. Most are sums over
the recorded top keys, i.e. lower bounds. A head can have several types, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import LabError
from .prefix_matching import prefix_matching
from .retrieval_heads import RETRIEVAL_THRESHOLD
from .top_keys import evenly_spaced, head_windows, recorded_heads, require_attention, top_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace
    from .retrieval_heads import RetrievalScores
    from .top_keys import Floats

#: Type → score from which on a head has it; a head is named by the first one that it has.
HEAD_THRESHOLDS: dict[str, float] = {
    "retrieval": RETRIEVAL_THRESHOLD, "induction": 0.3, "previous token": 0.5, "first token": 0.3,
    "picture reading": 0.2, "language bridging": 0.2, "local": 0.5,
}  # fmt: skip
#: Number of tokens that count as near, the query's own included, and the first query tested (chance ≤ 1/4).
NEAR, _FIRST_LOCAL_QUERY = 16, 64
#: Factor by which the odds of attending to an image or another language must exceed uniform attention.
ODDS = 2.0
#: Family-wise error of the induction test.
ALPHA = 0.05
_FIRST_QUERY = 8
_MIN_QUERIES = 8


@dataclass(frozen=True, eq=False)
class HeadTypes(Displayed):
    """Scores of every head in every test, and the types that follow.

    Attributes
    ----------
    heads
        Layer and head of each column of the arrays.
    local
        Whether the head is in a sliding-window layer.
    scores
        Type → score ``[heads]``; NaN where the test does not apply.
    chance
        Type → score under chance ``[heads]``: of uniform attention over the visible keys; for induction, of
        the head's own distances (`gemma_lab.analysis.prefix_matching`); for retrieval, of the answers of
        other prompts.
    passed
        Type → whether the head has it, bool ``[heads]``.
    untested
        Type → why the test does not apply.
    tokens
        Number of tokens.
    """

    heads: tuple[tuple[int, int], ...]
    local: NDArray[np.bool]
    scores: Mapping[str, Floats]
    chance: Mapping[str, Floats]
    passed: Mapping[str, NDArray[np.bool]]
    untested: Mapping[str, str] = field(default_factory=dict)
    tokens: int = 0

    def of(self, type_: str) -> tuple[tuple[int, int], ...]:
        """Return the heads of a type, the highest score first.

        Raises
        ------
        LabError
            If there is no such type.
        """
        if type_ not in self.scores:
            raise LabError(f"There is no head type {type_!r}.", hint=f"There are {', '.join(self.scores)}.")
        order = np.argsort(-np.nan_to_num(self.scores[type_], nan=-1.0), kind="stable")
        return tuple(self.heads[index] for index in order if self.passed[type_][index])

    @property
    def names(self) -> tuple[str, ...]:
        """One type per head: the first one, in the order of `HEAD_THRESHOLDS`; or ``"other"``."""
        return tuple(
            next((type_ for type_ in HEAD_THRESHOLDS if self.passed[type_][index]), "other")
            for index in range(len(self.heads))
        )

    def to_pandas(self) -> Any:
        """Return one row per head and type: layer, head, local, type, score, chance, threshold, passed."""
        import pandas as pd

        rows = [
            (*head, bool(self.local[place]), kind, self.scores[kind][place], self.chance[kind][place],
             HEAD_THRESHOLDS[kind], bool(self.passed[kind][place]))
            for kind in HEAD_THRESHOLDS for place, head in enumerate(self.heads)
        ]  # fmt: skip
        columns = ["layer", "head", "local", "type", "score", "chance", "threshold", "passed"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        counted = [
            (kind, int(self.passed[kind].sum())) for kind in HEAD_THRESHOLDS if kind not in self.untested
        ]
        listed = ", ".join(f"{count} {type_}" for type_, count in counted)
        return f"HeadTypes({len(self.heads)} heads, {self.tokens:,} tokens: {listed})"


def classify_heads(
    trace: Trace,
    *,
    retrieval: RetrievalScores | None = None,
    languages: Mapping[str, tuple[int, int]] | None = None,
    seed: int = 0,
) -> HeadTypes:
    """Test every head of a trace for every type.

    ================= =================================================== ================= ==================
    type              score: mean attention …                             threshold         condition
    ================= =================================================== ================= ==================
    previous token    to the previous token                               0.5 [1]_
    first token       to the first token, of queries from the 8th that    0.3 [2]_ [3]_
                      see it
    induction         to the tokens after earlier occurrences of the      0.3 (own) [4]_    above chance
                      query's token
    retrieval         fraction of an answer's tokens that it copies       0.1 [5]_
    local             to the 16 nearest tokens, of queries from the 64th  0.5 (own)
    picture reading   of text to the images before it                     0.2 (own)         odds twice uniform
    language bridging to another language or script                       0.2 (own)         odds twice uniform
    ================= =================================================== ================= ==================

    Parameters
    ----------
    trace
        With attention: top keys, and statistics for the first token and images. Induction and language
        bridging need a suitable text (`gemma_lab.analysis.repeated_text`; a sentence and its translation).
    retrieval
        From `gemma_lab.analysis.retrieval_scores`, of the same heads.
    languages
        Language → span of tokens ``(start, stop)``. Default: tokens are distinguished by their script.
    seed
        Of the permutations that induction is tested by.

    Returns
    -------
    HeadTypes

    Raises
    ------
    LabError
        If the trace has no attention, or the retrieval scores are of other heads.

    Notes
    -----
    Uniform attention is equal on all visible keys; "odds twice uniform" requires
    ``score ÷ (1 − score)`` to be at least twice its value under uniform attention. A head that attends at a
    fixed distance can pass by chance: test more than one prompt. Induction must exceed chance, given by the
    head's own distances, in a one-sided normal test, Bonferroni-corrected to a family-wise error of 5 %.

    References
    ----------
    .. [1] Clark et al. 2019, arXiv:1906.04341, §3.1: heads with more than half of their attention there.
    .. [2] Xiao et al. 2023, arXiv:2309.17453: the first tokens as attention sinks.
    .. [3] Gu et al. 2024, arXiv:2410.10781: a sink receives more than ε = 0.3.
    .. [4] Olsson et al. 2022, arXiv:2209.11895: prefix matching.
    .. [5] Wu et al. 2024, arXiv:2404.15574: retrieval score, threshold 0.1.
    """
    attention = require_attention(trace)
    heads = recorded_heads(attention)
    found = {
        "previous token": _previous(attention),
        "first token": _first(attention),
        "local": _near(attention),
        "picture reading": _pictures(trace, attention),
        "language bridging": _bridging(trace, attention, languages),
        "induction": _induction(trace, attention, seed),
        "retrieval": _retrieved(heads, retrieval),
    }
    scores, chance, passed, untested = {}, {}, {}, {}
    for kind, threshold in HEAD_THRESHOLDS.items():
        result = found[kind]
        if isinstance(result, str):
            untested[kind] = result
            scores[kind], chance[kind] = np.full(len(heads), np.nan), np.full(len(heads), np.nan)
            passed[kind] = np.zeros(len(heads), dtype=bool)
            continue
        scores[kind], chance[kind], limit = result
        with np.errstate(invalid="ignore"):
            passed[kind] = (scores[kind] >= threshold) & (scores[kind] > limit)
    local = head_windows(attention) < len(attention)
    local = np.asarray([attention.layout(layer).kind == "local" for layer, _ in heads]) | local
    return HeadTypes(heads, local, scores, chance, passed, untested, len(attention))


#: Score, chance and the value to exceed, each [heads]; or why the test does not apply.
_Result = tuple["Floats", "Floats", "Floats"] | str


def _previous(attention: Attention) -> _Result:
    queries = evenly_spaced(np.arange(2, len(attention)))
    if len(queries) < _MIN_QUERIES:
        return f"only {len(attention)} tokens"
    found = top_keys(attention, queries)
    score = found.mean_attention(found.keys == found.queries[None, :, None] - 1)
    even = (1 / found.visible).mean(axis=1)
    return score, even, even


def _first(attention: Attention) -> _Result:
    if len(attention) < _FIRST_QUERY + _MIN_QUERIES:
        return f"only {len(attention)} tokens"
    scores, even = [], []
    for layout in attention.layers:
        last = len(attention) if layout.window is None else min(len(attention), layout.window)
        if last <= _FIRST_QUERY:
            return f"a window of {last} tokens"
        rows = slice(_FIRST_QUERY, last)
        scores.append(_first_mass(attention, layout.layer)[:, rows].mean(axis=1))
        even += [float((1 / np.arange(_FIRST_QUERY + 1, last + 1)).mean())] * len(attention.heads)
    return np.concatenate(scores).astype(np.float64), np.asarray(even), np.asarray(even)


def _first_mass(attention: Attention, layer: int) -> Floats:
    if "first_token_mass" in attention.per_query:
        return np.asarray(attention.first_token_mass(layer), dtype=np.float64)
    keys, weights = attention.top_keys(layer)
    return np.asarray((weights * (keys == 0)).sum(axis=2), dtype=np.float64)


def _near(attention: Attention) -> _Result:
    queries = evenly_spaced(np.arange(_FIRST_LOCAL_QUERY, len(attention)))
    if len(queries) < _MIN_QUERIES:
        return f"only {len(attention)} tokens"
    found = top_keys(attention, queries)
    score = found.mean_attention(np.abs(found.queries[None, :, None] - found.keys) < NEAR)
    even = (np.minimum(NEAR, found.visible) / found.visible).mean(axis=1)
    return score, even, even


def _pictures(trace: Trace, attention: Attention) -> _Result:
    image = np.isin(trace.tokens.modalities.astype(str), ("image", "video"))
    if not image.any():
        return "no image"
    if "mass_by_label" not in attention.per_query:
        return "statistics were not recorded"
    text = np.flatnonzero(~image & (np.cumsum(image) > 0))
    even, seen = _even(attention, text, image[None])
    scores = []
    for layout in attention.layers:
        mass = attention.mass_by_label(layout.layer)
        parts = [mass[name] for name in ("modality:image", "modality:video") if name in mass]
        scores.append(np.sum(parts, axis=0)[:, text])
    return _against_even(np.concatenate(scores).astype(np.float64), even, seen)


def _bridging(trace: Trace, attention: Attention, languages: Mapping[str, tuple[int, int]] | None) -> _Result:
    labels = _languages(trace, languages)
    named = sorted(set(labels.tolist()) - {""})
    if len(named) < 2:
        return f"only one {'language' if languages is not None else 'script'}"
    queries = evenly_spaced(np.flatnonzero(labels != ""))
    found = top_keys(attention, queries)
    own = labels[queries]
    other = labels[np.maximum(found.keys, 0)]
    hit = (found.keys >= 0) & (other != "") & (other != own[None, :, None])
    score = (found.weights * hit).sum(axis=2)
    even, seen = np.zeros(score.shape), np.zeros(score.shape, dtype=bool)
    for name in named:
        rows = np.flatnonzero(own == name)
        even[:, rows], seen[:, rows] = _even(
            attention, queries[rows], ((labels != "") & (labels != name))[None]
        )
    return _against_even(score, even, seen)


def _languages(trace: Trace, spans: Mapping[str, tuple[int, int]] | None) -> NDArray[np.str_]:
    count = len(trace.tokens)
    if spans is None:
        scripts = trace.tokens.scripts.astype(str)
        is_text = trace.tokens.modalities.astype(str) == "text"
        return np.where(is_text & ~np.isin(scripts, ("Zyyy", "Zinh", "Zzzz")), scripts, "")
    labels = np.full(count, "", dtype=f"<U{max(map(len, spans), default=1)}")
    for name, (start, stop) in spans.items():
        labels[start:stop] = name
    return labels


def _even(
    attention: Attention, queries: NDArray[Any], target: NDArray[np.bool]
) -> tuple[Floats, NDArray[np.bool]]:
    """Return the fraction of visible keys that are targets, ``[heads, queries]``, and whether any is."""
    count = np.concatenate([[0], np.cumsum(target[0])])
    windows = head_windows(attention)[:, None]
    first = np.maximum(0, queries[None] + 1 - windows)
    inside = count[queries[None] + 1] - count[first]
    return inside / (queries[None] + 1 - first), inside > 0


def _against_even(score: Floats, even: Floats, seen: NDArray[np.bool]) -> _Result:
    """Return the means over the queries that see a target, and the score with twice the uniform odds."""
    counted = seen.sum(axis=1)
    if not (counted >= _MIN_QUERIES).any():
        return f"fewer than {_MIN_QUERIES} queries with a target"
    enough = counted >= _MIN_QUERIES
    mean = np.where(enough, (score * seen).sum(axis=1) / np.maximum(counted, 1), np.nan)
    chance = np.where(enough, (even * seen).sum(axis=1) / np.maximum(counted, 1), np.nan)
    return mean, chance, ODDS * chance / (1 - chance + ODDS * chance)


def _induction(trace: Trace, attention: Attention, seed: int) -> _Result:
    result = prefix_matching(attention, trace.tokens.ids, seed=seed)
    if result is None:
        return "too few repeated tokens"
    score, chance, spread = result
    z = NormalDist().inv_cdf(1 - ALPHA / len(score))
    return score, chance, chance + z * spread


def _retrieved(heads: tuple[tuple[int, int], ...], retrieval: RetrievalScores | None) -> _Result:
    if retrieval is None:
        return "no retrieval scores"
    if retrieval.heads != heads:
        raise LabError(
            f"The retrieval scores are of {len(retrieval.heads)} heads, the trace has {len(heads)} others.",
            hint="Record the same layers and heads in both.",
        )
    return retrieval.scores, retrieval.chance, retrieval.chance
