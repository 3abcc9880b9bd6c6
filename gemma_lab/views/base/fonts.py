"""Texts that a figure can draw: the installed fonts, and whether matplotlib shapes text."""

from __future__ import annotations

import re
import warnings
from functools import cache

#: Noto fonts that are used where they are installed, after the font that comes with matplotlib.
_NOTO = (
    "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Telugu", "Gujarati", "Gurmukhi", "Thai", "Khmer",
    "Georgian", "Armenian", "Ethiopic", "CJK SC", "CJK JP", "CJK KR",
)  # fmt: skip
#: Scripts that need shaping: Hebrew, Arabic and related; the scripts of India; Thai to Khmer.
_SHAPED = re.compile("[\u0590-\u08ff\u0900-\u0dff\u0e00-\u0fff\u1780-\u17ff\ufb1d-\ufdff\ufe70-\ufefc]")


@cache
def families() -> tuple[str, ...]:
    """Return the fonts for text of any language, in order of preference."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(f"Noto Sans {name}" for name in _NOTO if f"Noto Sans {name}" in installed))


def writable(text: str) -> bool:
    """Return whether a figure can draw a text: every character has a glyph, and its script is shaped.

    matplotlib shapes text (joins Arabic letters, orders right-to-left text) from 3.11 on.
    """
    if _SHAPED.search(text) and not _shapes():
        return False
    return all(ord(character) in _glyphs() for character in text)


@cache
def _shapes() -> bool:
    import matplotlib as mpl

    major, minor = (int(part) for part in mpl.__version__.split(".")[:2])
    return (major, minor) >= (3, 11)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    found: set[int] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a collection of fonts names itself more than once
        for name in families():
            found |= set(get_font(findfont(FontProperties(family=[name]))).get_charmap())
    return frozenset(found)
