"""Alignment of two token sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Change = Literal["same", "replaced", "removed", "added"]


@dataclass(frozen=True)
class AlignedPair:
    """One row of an alignment.

    Attributes
    ----------
    first, second
        Position in each sequence; None where the sequence has no counterpart.
    change
        ``"same"``, ``"replaced"``, ``"removed"`` (only in the first) or ``"added"`` (only in the second).
    """

    first: int | None
    second: int | None
    change: Change


def align(first: Sequence[int], second: Sequence[int]) -> list[AlignedPair]:
    """Align two sequences of token ids.

    Matching runs are found as by `difflib.SequenceMatcher` (Ratcliff and Metzener 1988: the longest common
    run, then the same to its left and right), without its junk heuristic. Unequal runs that face each other
    are paired from the left as replaced.

    Parameters
    ----------
    first, second
        Token ids.

    Returns
    -------
    list of AlignedPair
        In order; every position of both sequences occurs once.
    """
    one, two = list(first), list(second)
    start = common_prefix(one, two)  # spares most pairs of answers the matcher's quadratic search
    pairs = [AlignedPair(index, index, "same") for index in range(start)]
    matcher = SequenceMatcher(None, one[start:], two[start:], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        paired = min(b - a, d - c)
        change: Change = "same" if tag == "equal" else "replaced"
        pairs += [AlignedPair(start + a + step, start + c + step, change) for step in range(paired)]
        pairs += [AlignedPair(start + index, None, "removed") for index in range(a + paired, b)]
        pairs += [AlignedPair(None, start + index, "added") for index in range(c + paired, d)]
    return pairs


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the common prefix of two sequences."""
    for index, (one, two) in enumerate(zip(first, second, strict=False)):
        if one != two:
            return index
    return min(len(first), len(second))
