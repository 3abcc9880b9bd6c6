r"""Tokens to characters that a person sees: bytes joined, and grapheme clusters never cut in two.

A cluster is what a reader calls one character: a letter with its accents, a flag, a family emoji, a
Devanagari conjunct (Unicode Standard Annex 29, extended grapheme clusters; ``\X`` of the `regex` module).
A tokenizer cuts where it likes, also inside a character's bytes.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import regex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_CLUSTER = regex.compile(r"\X")
#: Not to be shown as they are: bytes that are no UTF-8 (decoded to U+DC80 … U+DCFF), and U+FFFD itself.
_UNSHOWN = re.compile("[\udc80-\udcff\ufffd]")


def cluster(data: Sequence[bytes | None]) -> tuple[list[str], NDArray[np.int32]]:
    r"""Return the text that each token shows, and which tokens share a character.

    Parameters
    ----------
    data
        What each token adds to the text, in UTF-8; None for a token that adds none and parts its neighbours
        (control tokens, soft tokens).

    Returns
    -------
    texts : list of str
        A cluster belongs to the token that completes it: the tokens before it that only began it show less,
        or ``""``. Joined, they are the decoded text. Bytes that never become a character are shown as
        ``\xNN`` and a U+FFFD as ``\ufffd``, so there is never a replacement character.
    groups : int32 ``(tokens,)``
        Ascending numbers. Neighbours have the same one where a cluster lies across the cut between them, so a
        group's text is always whole characters.

    Examples
    --------
    >>> cluster([b"e", b"\xcc", b"\x81", b"x"])
    (['', '', 'é', 'x'], array([0, 0, 0, 1], dtype=int32))
    """
    texts = [""] * len(data)
    opens = np.ones(len(data), dtype=bool)
    place = 0
    for spoken, run in groupby(data, key=lambda item: item is not None):
        items = list(run)
        if spoken:
            stretch = slice(place, place + len(items))
            texts[stretch], opens[stretch] = _run([item or b"" for item in items])
        place += len(items)
    return texts, np.cumsum(opens, dtype=np.int32) - np.int32(1)


def _run(data: list[bytes]) -> tuple[list[str], NDArray[np.bool_]]:
    """Cluster neighbouring tokens of text; also whether a new group opens at each."""
    text = b"".join(data).decode("utf-8", "surrogateescape")  # one lone surrogate for each broken byte
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    broken = (codes >= 0xDC80) & (codes <= 0xDCFF)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)  # bytes of each character in UTF-8
    sizes[broken] = 1
    widths = np.where(broken, len(r"\xNN"), np.where(codes == 0xFFFD, len(r"\ufffd"), 1))
    shown = _UNSHOWN.sub(_escaped, text)

    byte_ends = np.concatenate([[0], np.cumsum(sizes)])
    shown_ends = np.concatenate([[0], np.cumsum(widths)])
    edges = np.fromiter((0, *(match.end() for match in _CLUSTER.finditer(shown))), dtype=np.int64)
    ends = np.cumsum([len(item) for item in data])
    whole = np.searchsorted(byte_ends, ends, side="right") - 1  # characters complete where a token ends
    reached = shown_ends[whole]
    stops = edges[np.searchsorted(edges, reached, side="right") - 1]  # where the last whole cluster ends
    clean = (byte_ends[whole] == ends) & (stops == reached)
    starts = [0, *stops[:-1].tolist()]
    texts = [shown[start:stop] for start, stop in zip(starts, stops.tolist(), strict=True)]
    return texts, np.concatenate([[True], clean[:-1]])


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return r"\ufffd" if code == 0xFFFD else rf"\x{code - 0xDC00:02x}"
