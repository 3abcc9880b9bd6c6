"""What every attention head does over many traces, as sums that add up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import LabError
from .head_sums import MEASURES, received_by_sinks, sums_of
from .head_types import ALPHA, HEAD_THRESHOLDS, ODDS, HeadTypes
from .prefix_matching import prefix_matching
from .top_keys import require_attention

if TYPE_CHECKING:
    from ...trace.trace import Trace
    from .top_keys import Floats

Array = np.ndarray[Any, np.dtype[Any]]
#: Queries, and prompts with repeated tokens, from which on a head is given a type.
_MIN_QUERIES, _MIN_PROMPTS = 8, 8
#: Exchanges of attention patterns per prompt, for induction by chance; many prompts make up for few.
_DRAWS = 2
_ARRAYS = (
    "queries", "sums", "even", "sink_prompts", "induction", "induction_by_chance", "induction_squares",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class HeadSummary(Displayed):
    """Sums over the attention rows of many traces of one model; the sum of two is that of all their traces.

    L layers, H heads, M measures (`gemma_lab.analysis.attention.head_sums.MEASURES`).

    Attributes
    ----------
    layers, heads
        The recorded layers and query heads.
    local
        Whether each layer has a sliding window.
    prompts, tokens
        Traces, and their tokens.
    sink_tested
        Traces of 17 tokens or more, in which sinks were looked for.
    repeated
        Traces with enough repeated tokens to test induction.
    queries
        Rows that count for each measure, int64 ``[M, L, H]``.
    sums
        Sum of each measure over these rows, float64 ``[M, L, H]``.
    even
        The same for attention that is equal on all visible keys.
    sink_prompts
        Traces in which the head has a sink, int64 ``[L, H]``.
    induction, induction_by_chance
        Sums over traces of the prefix-matching score and of its value by chance, float64 ``[L, H]``.
    induction_squares
        Sum over traces of the squared difference of the two.
    """

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    local: tuple[bool, ...]
    prompts: int
    tokens: int
    sink_tested: int
    repeated: int
    queries: Array = field(repr=False)
    sums: Array = field(repr=False)
    even: Array = field(repr=False)
    sink_prompts: Array = field(repr=False)
    induction: Array = field(repr=False)
    induction_by_chance: Array = field(repr=False)
    induction_squares: Array = field(repr=False)

    @classmethod
    def of(cls, trace: Trace) -> HeadSummary:
        """Return the summary of one trace.

        Raises
        ------
        LabError
            If it has no attention.
        """
        attention = require_attention(trace)
        shape = (len(attention.layers), len(attention.heads))
        queries, sums, even = sums_of(trace, attention)
        sinks = received_by_sinks(attention)
        has_sink = np.zeros(shape, np.int64)
        if sinks is not None:
            place = MEASURES.index("sink")
            queries[place], sums[place] = len(attention), sinks.reshape(shape)
            has_sink = (sums[place] > 0).astype(np.int64)
        matched = prefix_matching(attention, trace.tokens.ids, draws=_DRAWS) if attention.top_k else None
        score, chance = (np.zeros(shape), np.zeros(shape)) if matched is None else (
            each.reshape(shape) for each in matched[:2]
        )  # fmt: skip
        return cls(
            layers=tuple(layout.layer for layout in attention.layers),
            heads=tuple(attention.heads),
            local=tuple(layout.kind == "local" for layout in attention.layers),
            prompts=1, tokens=len(attention), sink_tested=int(sinks is not None),
            repeated=int(matched is not None), queries=queries, sums=sums, even=even, sink_prompts=has_sink,
            induction=score, induction_by_chance=chance, induction_squares=(score - chance) ** 2,
        )  # fmt: skip

    def __add__(self, other: HeadSummary) -> HeadSummary:
        """Return the summary of the traces of both.

        Raises
        ------
        LabError
            If they are of different heads.
        """
        if not isinstance(other, HeadSummary):
            return NotImplemented
        for name in ("layers", "heads", "local"):
            if getattr(self, name) != getattr(other, name):
                raise LabError(
                    f"Summaries of different {name} do not add up: {getattr(self, name)!r:.80} and "
                    f"{getattr(other, name)!r:.80}.",
                    hint="Record the same layers and heads of one model.",
                )
        added = ("prompts", "tokens", "sink_tested", "repeated", *_ARRAYS)
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in added})

    def __repr__(self) -> str:
        counted = ", ".join(
            f"{int(passed.sum())} {kind}" for kind, passed in self.types().passed.items() if passed.any()
        )
        return (
            f"HeadSummary({len(self.layers)} layers × {len(self.heads)} heads, {self.prompts:,} "
            f"prompt{'s' * (self.prompts != 1)}, {self.tokens:,} tokens: {counted or 'no type'})"
        )

    def mean(self, measure: str) -> Floats:
        """Return the mean of a measure over all rows that count, ``[L, H]``; NaN where none does.

        Parameters
        ----------
        measure
            ``"entropy"`` (nats), ``"distance"`` (tokens), or a share of a row's attention: ``"sink"`` (to
            the head's sinks in that prompt), ``"first token"``, ``"previous token"``, ``"local"`` (the 16
            nearest), ``"picture reading"``. They are those of `gemma_lab.analysis.classify_heads` and
            `gemma_lab.analysis.attention_sinks`.
        """
        return self._ratio(self.sums, measure)

    def mean_if_even(self, measure: str) -> Floats:
        """Return what `mean` would be for attention that is equal on all visible keys, ``[L, H]``."""
        return self._ratio(self.even, measure)

    @property
    def sink_share(self) -> Floats:
        """Fraction of the prompts of 17 tokens or more in which each head has a sink, ``[L, H]``."""
        return self.sink_prompts / self.sink_tested if self.sink_tested else np.full(self._shape, np.nan)

    def types(self) -> HeadTypes:
        """Return the types of the heads, from the means over all traces.

        Tests and thresholds are those of `gemma_lab.analysis.classify_heads`, but for the unit of the test of
        induction: the score must exceed chance over the prompts, in a one-sided normal test with the family
        of all heads.
        """
        flat = len(self.layers) * len(self.heads)
        scores, chance, passed, untested = {}, {}, {}, {}
        for kind, threshold in HEAD_THRESHOLDS.items():
            result = self._test(kind)
            if isinstance(result, str):
                untested[kind] = result
                scores[kind], chance[kind] = np.full(flat, np.nan), np.full(flat, np.nan)
                passed[kind] = np.zeros(flat, bool)
                continue
            scores[kind], chance[kind], limit = (each.ravel() for each in result)
            with np.errstate(invalid="ignore"):
                passed[kind] = (scores[kind] >= threshold) & (scores[kind] > limit)
        heads = tuple((layer, head) for layer in self.layers for head in self.heads)
        local = np.repeat(np.asarray(self.local, bool), len(self.heads))
        return HeadTypes(heads, local, scores, chance, passed, untested, self.tokens)

    def to_pandas(self) -> Any:
        """Return one row per head: its means, the entropy relative to even attention, sinks and induction."""
        import pandas as pd

        rows, columns = self._shape
        table: dict[str, Any] = {
            "layer": np.repeat(self.layers, columns),
            "head": np.tile(self.heads, rows),
            "local": np.repeat(self.local, columns),
        }
        for name in MEASURES:
            table[name.replace(" ", "_")] = self.mean(name).ravel()
            if name == "entropy":
                table["entropy_relative"] = (self.mean(name) / self.mean_if_even(name)).ravel()
        table["prompts_with_sink"] = self.sink_share.ravel()
        table["induction"] = self._per_repeat(self.induction).ravel()
        return pd.DataFrame(table | {"type": self.types().names})

    def save(self, path: Path) -> None:
        """Write the summary as safetensors; equal summaries give equal bytes."""
        from safetensors.numpy import save_file

        plain = ("layers", "heads", "local", "prompts", "tokens", "sink_tested", "repeated")
        meta = {name: getattr(self, name) for name in plain} | {"measures": MEASURES}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        save_file(arrays, path, metadata={"heads": json.dumps(meta)})

    @classmethod
    def load(cls, path: Path) -> HeadSummary:
        """Read a summary that `save` wrote.

        Raises
        ------
        LabError
            If it has other measures, those of another version.
        """
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            meta = json.loads(file.metadata()["heads"])
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
        if tuple(meta.pop("measures")) != MEASURES:
            raise LabError(f"{path.name} has the measures of another version.", hint="Make it again.")
        fields: dict[str, Any] = {name: tuple(meta.pop(name)) for name in ("layers", "heads", "local")}
        return cls(**fields, **meta, **arrays)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.layers), len(self.heads)

    def _ratio(self, sums: Array, measure: str) -> Floats:
        if measure not in MEASURES:
            raise LabError(f"{measure!r} is no measure.", hint=f"There are {', '.join(MEASURES)}.")
        place = MEASURES.index(measure)
        count = self.queries[place]
        return np.where(count > 0, sums[place] / np.maximum(count, 1), np.nan)

    def _per_repeat(self, sums: Array) -> Floats:
        return np.asarray(sums / self.repeated) if self.repeated else np.full(self._shape, np.nan)

    def _test(self, kind: str) -> tuple[Floats, Floats, Floats] | str:
        """Return score, chance and the value to exceed, each ``[L, H]``; or why a type is not tested."""
        if kind == "induction":
            if self.repeated < _MIN_PROMPTS:
                return f"{self.repeated} prompts with enough repeated tokens, not {_MIN_PROMPTS}"
            score, chance = self._per_repeat(self.induction), self._per_repeat(self.induction_by_chance)
            variance = np.maximum(self._per_repeat(self.induction_squares) - (score - chance) ** 2, 0)
            z = NormalDist().inv_cdf(1 - ALPHA / score.size)
            return score, chance, chance + z * np.sqrt(variance / (self.repeated - 1))
        if kind not in MEASURES:
            return "no answers to retrieve" if kind == "retrieval" else "not tested in summaries"
        enough = self.queries[MEASURES.index(kind)] >= _MIN_QUERIES
        if not enough.any():
            return f"fewer than {_MIN_QUERIES} queries"
        score = np.where(enough, self.mean(kind), np.nan)
        even = np.where(enough, self.mean_if_even(kind), np.nan)
        if kind != "picture reading":
            return score, even, even
        return score, even, ODDS * even / (1 - even + ODDS * even)


def head_summary(traces: Trace | Sequence[Trace]) -> HeadSummary:
    """Summarise what every attention head does over traces of one model.

    Parameters
    ----------
    traces
        With attention, of the same layers and heads.

    Returns
    -------
    HeadSummary

    Raises
    ------
    LabError
        If there is no trace, one has no attention, or they are of different heads.
    """
    listed = list(traces) if isinstance(traces, Sequence) else [traces]
    if not listed:
        raise LabError("There is no trace.", hint="Pass traces made with attention=True.")
    total = HeadSummary.of(listed[0])
    for trace in listed[1:]:
        total = total + HeadSummary.of(trace)
    return total
