"""Permutation baseline for comparisons between labels of tokens.

Labels are permuted among units (tokens, or prompts) and everything else is kept: each token its experts
in every layer, each label its number of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LabError
from .routing_pool import RoutingPool, choice_counts

Counts = NDArray[np.int64]


class LabelPermutation:
    """Labelled tokens, and the units among which the labels can be permuted.

    Parameters
    ----------
    pool
        The routing.
    labels
        One per token.
    groups
        One per token: tokens of a group share a label and are permuted together. None: each token by itself.

    Raises
    ------
    LabError
        If the lengths differ, there are fewer than two labels, or a group has two labels.
    """

    def __init__(
        self,
        pool: RoutingPool,
        labels: Sequence[Any] | NDArray[Any],
        *,
        groups: Sequence[Any] | NDArray[Any] | None,
    ) -> None:
        self.pool = pool
        self.names, codes = _codes(labels, pool.tokens, "label")
        if len(self.names) < 2:
            raise LabError(
                f"All {pool.tokens:,} tokens have the label {self.names[0]!r}.",
                hint="Pass at least two different labels.",
            )
        self.unit = "token" if groups is None else "group"
        self._ids = [pool.ids(row) for row in range(len(pool.layers))]
        if groups is None:
            self.codes = codes
        else:
            self.group_names, self.member = _codes(groups, pool.tokens, "group")
            self.codes = self._label_of_groups(codes)
            self.by_group = self._count(self.member, len(self.group_names)).astype(np.float64)
        self.units: Counts = np.bincount(self.codes, minlength=len(self.names))

    def counts(self, codes: NDArray[np.intp] | None = None) -> Counts:
        """Count how often each label's tokens chose each expert, ``[labels, layers, experts]``."""
        codes = self.codes if codes is None else codes
        if self.unit == "token":
            return self._count(codes, len(self.names))
        chosen = np.arange(len(self.names))[:, None] == codes
        return np.rint(np.tensordot(chosen.astype(np.float64), self.by_group, axes=1)).astype(np.int64)

    def sizes(self, codes: NDArray[np.intp] | None = None) -> Counts:
        """Return the number of tokens of each label, ``[labels]``."""
        codes = self.codes if codes is None else codes
        by_token = codes if self.unit == "token" else codes[self.member]
        return np.bincount(by_token, minlength=len(self.names))

    def permuted(self, times: int, *, seed: int) -> Iterator[NDArray[np.intp]]:
        """Yield permuted labels of the units, `times` times."""
        random = np.random.default_rng(seed)
        for _ in range(times):
            yield random.permutation(self.codes)

    def _label_of_groups(self, codes: NDArray[np.intp]) -> NDArray[np.intp]:
        label = np.zeros(len(self.group_names), dtype=np.intp)
        label[self.member] = codes
        mixed = np.flatnonzero(label[self.member] != codes)
        if len(mixed):
            name = self.group_names[self.member[mixed[0]]]
            raise LabError(
                f"Group {name!r} has more than one label.",
                hint="Labels are permuted among groups: split the group, or leave `groups` out.",
            )
        return label

    def _count(self, of: NDArray[np.intp], kinds: int) -> Counts:
        """Count choices by token label, ``[labels, layers, experts]``."""
        experts = self.pool.experts
        base = of[:, None] * experts
        rows = [choice_counts(base + ids, kinds * experts).reshape(kinds, experts) for ids in self._ids]
        return np.stack(rows, axis=1)


def _codes(
    values: Sequence[Any] | NDArray[Any], tokens: int, what: str
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    if len(values) != tokens:
        raise LabError(
            f"There are {len(values):,} {what}s for {tokens:,} tokens.", hint=f"Pass one {what} per token."
        )
    names, codes = np.unique(np.asarray([str(value) for value in values], dtype=object), return_inverse=True)
    return tuple(str(name) for name in names), codes.astype(np.intp)
