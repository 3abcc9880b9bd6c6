"""Expert specialisation over a survey: one partition in memory at a time, labels permuted among prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..analysis.experts.specialisation import Specialisation, check_permutations, mutual_information
from ..errors import LabError, NotTraced
from .partition import TOKENS, label_column

if TYPE_CHECKING:
    from pathlib import Path

    from .summary import RoutingSummary

#: Bytes of counts, at most; scores take as much again.
_MOST_BYTES = 4 * 2**30

Array = np.ndarray[Any, np.dtype[Any]]


def specialisation_by_label(
    rows: Any,
    summary: RoutingSummary,
    partitions: Sequence[Path],
    label: str,
    *,
    permutations: int,
    alpha: float,
    seed: int,
) -> Specialisation:
    """Compare the routing of prompts with different labels; see `Survey.specialisation`.

    Parameters
    ----------
    rows
        A DataFrame with one row per prompt: ``index``, ``error`` and the labels.
    summary
        Of all partitions.
    partitions
        Folders with tokens.
    label, permutations, alpha, seed
        As in `Survey.specialisation`.
    """
    check_permutations(permutations, alpha)
    names, codes = _labels(rows, summary, label)
    random = np.random.default_rng(seed)
    known = np.flatnonzero(codes >= 0)
    permuted = np.empty((permutations + 1, len(known)), np.int16)
    permuted[0] = codes[known]  # the observed labels, then permuted ones
    for row in range(permutations):
        permuted[row + 1] = random.permutation(codes[known])
    shape = (len(summary.layers), summary.experts)
    _require_room(len(names), permutations + 1, shape)
    sums = _Sums(len(names), permutations + 1, shape)
    position = np.full(len(codes), -1)
    position[known] = np.arange(len(known))
    for prompts, counts, lengths in _counts(partitions, shape, summary.top_k):
        at = position[prompts]
        used = at >= 0
        if used.any():
            sums.add(permuted[:, at[used]], counts[used], lengths[used])
    scores = sums.scores(np.bincount(permuted[0], minlength=len(names)))
    maxima = np.sort([np.abs(table).max() for table in scores[1:]])
    reached = permutations - np.searchsorted(maxima, np.abs(scores[0]) * (1 - 1e-9), side="left")
    chance = np.stack([mutual_information(table) for table in sums.counts[1:]])
    observed, sizes = sums.counts[0], sums.sizes[0]
    return Specialisation(
        layers=summary.layers,
        labels=names,
        sizes=sizes,
        rate=observed / sizes[:, None, None],
        overall=observed.sum(axis=0) / sizes.sum(),
        score=scores[0],
        p=(1 + reached) / (1 + permutations),
        information=mutual_information(observed),
        information_by_chance=chance.mean(axis=0),
        information_limit=np.quantile(chance, 1 - alpha, axis=0),
        alpha=alpha,
        permutations=permutations,
        seed=seed,
        unit="prompt",
    )


class _Sums:
    """Counts by label for the observed and every permuted labelling, added up over partitions.

    Attributes
    ----------
    counts
        Choices, int64 ``[labellings, labels, layers, experts]``.
    sizes
        Tokens, int64 ``[labellings, labels]``.
    """

    def __init__(self, labels: int, labellings: int, shape: tuple[int, int]) -> None:
        self.counts: Array = np.zeros((labellings, labels, *shape), np.int64)
        self.sizes: Array = np.zeros((labellings, labels), np.int64)
        self._squares = np.zeros(shape)
        self._products = np.zeros(shape)
        self._lengths_squared = 0.0
        self._prompts = 0

    def add(self, codes: Array, counts: Array, lengths: Array) -> None:
        """Add prompts.

        Parameters
        ----------
        codes
            The label of each prompt under every labelling, ``[labellings, prompts]``.
        counts
            Their choices, ``[prompts, layers, experts]``.
        lengths
            Their tokens, ``[prompts]``.
        """
        flat = counts.reshape(len(counts), -1).astype(np.float64)
        for label in range(self.sizes.shape[1]):
            chosen = (codes == label).astype(np.float64)
            self.counts[:, label] += np.rint(chosen @ flat).astype(np.int64).reshape(-1, *counts.shape[1:])
            self.sizes[:, label] += np.rint(chosen @ lengths).astype(np.int64)
        self._squares += (flat**2).sum(axis=0).reshape(self._squares.shape)
        self._products += (lengths @ flat).reshape(self._products.shape)
        self._lengths_squared += float((lengths.astype(np.float64) ** 2).sum())
        self._prompts += len(counts)

    def scores(self, units: Array) -> Array:
        """Return the scores of every labelling, by the formula of `analysis.specialisation` for groups.

        Parameters
        ----------
        units
            Prompts of each label.
        """
        overall = self.counts[0].sum(axis=0) / self.sizes[0].sum()
        residuals = self._squares - 2 * overall * self._products + overall**2 * self._lengths_squared
        variance = np.maximum(residuals, 0) / max(self._prompts - 1, 1)
        drawn = units * (1 - units / self._prompts)
        spread = np.sqrt(drawn[:, None, None] * variance)
        difference = self.counts - self.sizes[:, :, None, None] * overall
        score = np.zeros(self.counts.shape)
        np.divide(difference, spread, out=score, where=np.broadcast_to(spread > 1e-9, score.shape))
        return score


def _require_room(labels: int, labellings: int, shape: tuple[int, int]) -> None:
    """Raise `LabError` if the counts of all labellings would take more memory than is sensible."""
    needed = 8 * labels * labellings * shape[0] * shape[1]
    if needed > _MOST_BYTES:
        raise LabError(
            f"Counts of {labels:,} labels under {labellings:,} labellings are {needed / 1e9:.1f} GB; "
            f"at most {_MOST_BYTES / 1e9:.1f} GB are used.",
            hint="Pass fewer permutations, or group the labels.",
        )


def _labels(rows: Any, summary: RoutingSummary, label: str) -> tuple[tuple[str, ...], Array]:
    """Return the values of a label, and each prompt's index into them; −1 without trace or label."""
    column = label_column(label)
    if column not in rows.columns:
        known = sorted({column for column, _ in summary.by_label})
        raise LabError(
            f"The prompts have no label {label!r}.", hint=f"There are: {', '.join(known) or 'none'}."
        )
    traced = rows["error"].isna() & rows[column].notna()
    names = tuple(sorted({str(value) for value in rows.loc[traced, column]}))
    if len(names) < 2:
        raise LabError(
            f"All prompts have the same {label}: {names}.", hint="Survey prompts of two labels or more."
        )
    codes = np.full(int(rows["index"].max()) + 1, -1, np.int64)
    order = {name: number for number, name in enumerate(names)}
    codes[rows.loc[traced, "index"]] = [order[str(value)] for value in rows.loc[traced, column]]
    return names, codes


def _counts(
    partitions: Sequence[Path], shape: tuple[int, int], top_k: int
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield of each partition: prompts, their choices ``[prompts, layers, experts]``, their tokens."""
    layers, experts = shape
    found = False
    for path in partitions:
        if not (path / TOKENS).is_file():
            continue
        found = True
        table = pq.read_table(path / TOKENS, columns=["prompt", "experts"])
        prompts, first = np.unique(table["prompt"].to_numpy(), return_index=True)
        lengths = np.diff([*first, len(table)])
        chosen = pc.list_flatten(table["experts"]).to_numpy().reshape(len(table), layers, top_k)
        counts = np.zeros((len(prompts), layers, experts), np.int32)
        owner = np.repeat(np.arange(len(prompts)), lengths)
        for layer in range(layers):
            cells = (owner[:, None] * experts + chosen[:, layer].astype(np.int64)).ravel()
            counts[:, layer] = np.bincount(cells, minlength=len(prompts) * experts).reshape(-1, experts)
        yield prompts, counts, lengths
    if not found:
        raise NotTraced("This survey keeps no tokens.", hint="gl.survey(…, keep_tokens=True)")
