"""Two sequences of tokens side by side: what stayed, what was replaced, what only one of them has."""

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
        Position in either sequence; None where it has nothing here.
    change
        ``"same"``, ``"replaced"``, ``"removed"`` (only the first has it) or ``"added"`` (only the second).
    """

    first: int | None
    second: int | None
    change: Change


def align(first: Sequence[int], second: Sequence[int]) -> list[AlignedPair]:
    """Align two sequences of token ids.

    Matching runs are found as `difflib.SequenceMatcher` does (Ratcliff and Metzener 1988: the longest common
    run, then the same to its left and right), without its junk heuristic. Where unequal runs face each other,
    they are paired from the left as replaced.

    Parameters
    ----------
    first, second
        Token ids.

    Returns
    -------
    list of AlignedPair
        In order: every position of both sequences occurs once.
    """
    one, two = list(first), list(second)
    start = common_prefix(one, two)  # what two answers mostly share, without the matcher's quadratic search
    pairs = [AlignedPair(place, place, "same") for place in range(start)]
    matcher = SequenceMatcher(None, one[start:], two[start:], autojunk=False)
    for tag, a, b, c, d in matcher.get_opcodes():
        faced = min(b - a, d - c)
        change: Change = "same" if tag == "equal" else "replaced"
        pairs += [AlignedPair(start + a + step, start + c + step, change) for step in range(faced)]
        pairs += [AlignedPair(start + place, None, "removed") for place in range(a + faced, b)]
        pairs += [AlignedPair(None, start + place, "added") for place in range(c + faced, d)]
    return pairs


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences begin with in common."""
    for place, (one, two) in enumerate(zip(first, second, strict=False)):
        if one != two:
            return place
    return min(len(first), len(second))
