"""Mergeable summaries of routing: what is known of a corpus without its tokens."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..trace.records.routing import Routing

Array = np.ndarray[Any, np.dtype[Any]]
#: Values of one label that are counted apart; a label with more, such as an id, is not.
MAX_VALUES = 1000
#: Longest run of consecutive tokens whose union of experts is counted.
UNIONS = 8


def _unset() -> Array:
    return np.empty(())  # replaced by zeros once the shape is known


@dataclass
class RoutingSummary:
    """Sums over tokens, which add up: merging parts gives the summary of the whole.

    L layers, E experts, k per token. Counts and gate-weight steps are integers, so that they do not depend on
    the order; the sums of entropies are float64, added in the order of partitions.

    Attributes
    ----------
    layers, experts, top_k
        As in `Routing`.
    tokens
        Tokens counted.
    counts
        Times each expert was chosen, int64 ``[L, E]``.
    weight_steps
        Sum of gate weights in steps of 1/65535, int64 ``[L, E]``.
    pairs
        Tokens that chose both experts, int64 ``[L, E, E]``; the diagonal is `counts`.
    entropy, expert_output_fraction
        Sums over tokens, float64 ``[L]``; NaN if some tokens have ids only, as a server reports them.
    unions
        Sum of the number of different experts of n consecutive generated tokens, int64 ``[UNIONS, L]``,
        n from 1.
    runs
        How many such runs there were, int64 ``[UNIONS]``.
    by_label
        ``(column, value)`` to tokens and counts ``[L, E]``.
    uncounted
        Columns with more than `MAX_VALUES` values, which `by_label` leaves out.
    """

    layers: tuple[int, ...]
    experts: int
    top_k: int
    tokens: int = 0
    counts: Array = field(default_factory=_unset, repr=False)
    weight_steps: Array = field(default_factory=_unset, repr=False)
    pairs: Array = field(default_factory=_unset, repr=False)
    entropy: Array = field(default_factory=_unset, repr=False)
    expert_output_fraction: Array = field(default_factory=_unset, repr=False)
    unions: Array = field(default_factory=_unset, repr=False)
    runs: Array = field(default_factory=_unset, repr=False)
    by_label: dict[tuple[str, str], tuple[int, Array]] = field(default_factory=dict, repr=False)
    uncounted: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        rows, experts = len(self.layers), self.experts
        shapes = {
            "counts": (rows, experts), "weight_steps": (rows, experts), "pairs": (rows, experts, experts),
            "unions": (UNIONS, rows), "runs": (UNIONS,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).ndim == 0:
                setattr(self, name, np.zeros(shape, np.int64))
        for name in ("entropy", "expert_output_fraction"):
            if getattr(self, name).ndim == 0:
                setattr(self, name, np.zeros(rows, np.float64))

    @property
    def has_weights(self) -> bool:
        """Whether every token had gate weights; `weight_steps` says nothing otherwise."""
        return not bool(np.isnan(self.entropy).any())

    @classmethod
    def like(cls, routing: Routing) -> RoutingSummary:
        """Return an empty summary for routings like this one."""
        return cls(routing.layers, routing.experts, routing.top_k)

    def add(self, routing: Routing, labels: Mapping[str, str], generated: Array) -> None:
        """Add the routing of one prompt.

        Parameters
        ----------
        routing
            Of all its tokens.
        labels
            Column to value, for the whole prompt.
        generated
            Which tokens were generated, bool ``[T]``.
        """
        ids = np.asarray(routing.ids, dtype=np.intp)  # [L, T, k]
        steps = None  # of a server, which reports ids only
        if routing.has_weights:
            steps = np.rint(np.asarray(routing.gate_weights, np.float64) * 65_535).astype(np.int64)
        counts = np.zeros((len(self.layers), self.experts), np.int64)
        for row, chosen in enumerate(ids):
            counts[row] = np.bincount(chosen.ravel(), minlength=self.experts)
            if steps is not None:
                np.add.at(self.weight_steps[row], chosen.ravel(), steps[row].ravel())
            used = np.zeros((len(chosen), self.experts), np.float32)
            np.put_along_axis(used, chosen, 1.0, axis=1)
            self.pairs[row] += np.rint(used.T @ used).astype(np.int64)  # exact below 2**24 tokens per prompt
            self._add_unions(row, used[generated].astype(bool))
        self.runs += np.maximum(int(generated.sum()) - np.arange(UNIONS), 0)
        self.counts += counts
        if routing.has_weights:
            self.entropy += routing.entropy.sum(axis=1, dtype=np.float64)
            self.expert_output_fraction += routing.expert_output_fraction.sum(axis=1, dtype=np.float64)
        else:
            self.entropy[:] = self.expert_output_fraction[:] = np.nan
        self.tokens += len(routing)
        for column, value in labels.items():
            tokens, known = self.by_label.get((column, value), (0, 0))
            self.by_label[column, value] = tokens + len(routing), known + counts
        self._leave_out()

    def _leave_out(self) -> None:
        """Count labels with too many values no longer: memory must not grow with the number of prompts."""
        values = Counter(column for column, _ in self.by_label)
        self.uncounted |= {column for column, number in values.items() if number > MAX_VALUES}
        if self.uncounted:
            kept = ((key, part) for key, part in self.by_label.items() if key[0] not in self.uncounted)
            self.by_label = dict(kept)

    def _add_unions(self, row: int, used: Array) -> None:
        """Add the sizes of unions over runs of 1 to `UNIONS` consecutive tokens; `used` is ``[n, E]``."""
        union = used.copy()
        for length in range(1, min(UNIONS, len(used)) + 1):
            if length > 1:
                union = union[:-1] | used[length - 1 :]
            self.unions[length - 1, row] += int(union.sum())

    def merge(self, other: RoutingSummary) -> None:
        """Add another summary of the same model.

        Raises
        ------
        LabError
            If it is of another model.
        """
        mine, theirs = ((part.layers, part.experts, part.top_k) for part in (self, other))
        if mine != theirs:
            raise LabError(
                f"Summaries of {mine} and {theirs} (layers, experts, top-k) do not add up.", hint=""
            )
        for name in (
            "counts",
            "weight_steps",
            "pairs",
            "unions",
            "runs",
            "entropy",
            "expert_output_fraction",
        ):
            getattr(self, name).__iadd__(getattr(other, name))
        self.tokens += other.tokens
        for key, (tokens, counts) in other.by_label.items():
            known = self.by_label.get(key, (0, 0))
            self.by_label[key] = known[0] + tokens, known[1] + counts
        self.uncounted |= other.uncounted
        self._leave_out()

    def save(self, path: Path) -> None:
        """Write the summary as safetensors; equal summaries give equal bytes."""
        from safetensors.numpy import save_file

        labels = sorted(self.by_label)
        arrays = {
            "counts": self.counts,
            "weight_steps": self.weight_steps,
            "pairs": self.pairs,
            "unions": self.unions,
            "runs": self.runs,
            "entropy": self.entropy,
            "expert_output_fraction": self.expert_output_fraction,
        }
        if labels:
            arrays["label_counts"] = np.stack([self.by_label[key][1] for key in labels])
        meta = {
            "layers": list(self.layers), "experts": self.experts, "top_k": self.top_k, "tokens": self.tokens,
            "labels": [[*key, self.by_label[key][0]] for key in labels],
            "uncounted": sorted(self.uncounted),
        }  # fmt: skip
        save_file(arrays, path, metadata={"summary": json.dumps(meta)})

    @classmethod
    def load(cls, path: Path) -> RoutingSummary:
        """Read a summary that `save` wrote."""
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            meta = json.loads(file.metadata()["summary"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
        counts = arrays.pop("label_counts", ())
        by_label = {
            (column, value): (tokens, part)
            for (column, value, tokens), part in zip(meta["labels"], counts, strict=True)
        }
        return cls(
            tuple(meta["layers"]), meta["experts"], meta["top_k"], meta["tokens"], by_label=by_label,
            uncounted=frozenset(meta.get("uncounted", ())), **arrays,
        )  # fmt: skip
