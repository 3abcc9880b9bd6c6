"""How sure a share is, from how often it was looked at."""

from __future__ import annotations

import math


def interval(right: int, asked: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share (E. B. Wilson 1927, JASA 22)."""
    z, share = 1.959964, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked)) / (1 + z * z / asked)
    return max(0.0, middle - half), min(1.0, middle + half)
