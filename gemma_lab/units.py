"""Numbers with units, short enough for a table or a label."""

from __future__ import annotations

_STEPS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def parameters(count: int) -> str:
    """Format a count in B, M or k, with two decimals below a hundred: ``"25.81 B"``, ``"412.8 M"``."""
    for step, letter in _STEPS:
        if count >= step:
            scaled = count / step
            return f"{scaled:.{2 if scaled < 99.995 else 1}f} {letter}"
    return str(count)


def gib(size: int) -> str:
    """Format bytes in GiB (2³⁰), or in MiB (2²⁰) below a tenth: ``"48.1 GiB"``, ``"30.0 MiB"``."""
    scaled = size / 2**30
    if scaled < 0.1:
        return f"{size / 2**20:.1f} MiB"
    return f"{scaled:.2f} GiB" if scaled < 9.995 else f"{scaled:.1f} GiB"


def tokens(count: int) -> str:
    """Format a token count, multiples of 1,024 in K: ``"256K"``, ``"1,000"``."""
    return f"{count // 1024}K" if count >= 1024 and count % 1024 == 0 else f"{count:,}"
