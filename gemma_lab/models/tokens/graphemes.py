r"""Join the bytes of tokens to text, and assign every grapheme cluster to the token that completes it.

A cluster is what a reader calls one character: a letter with its accents, a flag, a family emoji, a
Devanagari conjunct (Unicode Standard Annex 29, extended grapheme clusters; ``\X`` of the `regex` module).
Tokens may end inside a cluster, and inside the bytes of a character.
"""

from __future__ import annotations

import codecs
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
        group's text always consists of complete characters.

    Examples
    --------
    >>> cluster([b"e", b"\xcc", b"\x81", b"x"])
    (['', '', 'é', 'x'], array([0, 0, 0, 1], dtype=int32))
    """
    texts = [""] * len(data)
    opens = np.ones(len(data), dtype=bool)
    start = 0
    for is_text, run in groupby(data, key=lambda item: item is not None):
        items = list(run)
        if is_text:
            span = slice(start, start + len(items))
            tokens = _Run([item or b"" for item in items])
            texts[span] = tokens.texts()
            opens[span] = np.concatenate([[True], tokens.is_clean[:-1]])
        start += len(items)
    return texts, np.cumsum(opens, dtype=np.int32) - np.int32(1)


class GraphemeStream:
    """The texts of tokens that arrive one by one: those of `cluster`, each as soon as it is certain.

    That is one token late: an accent, a joiner or the second half of a flag may still come and belong to the
    last character, and bytes that are no character yet may become one.
    """

    def __init__(self) -> None:
        self._waiting: list[bytes] = []  # its first item begins where the last text that was returned ends

    def add(self, data: bytes) -> list[str]:
        """Take the bytes of the next token; return the texts that became certain, in order."""
        self._waiting.append(data)
        joined = b"".join(self._waiting)
        if data and joined.isascii() and b"\r" not in joined:  # every character is a cluster: the usual case
            texts, self._waiting = [item.decode() for item in self._waiting[:-1]], [data]
            return texts
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        decoder.decode(joined)
        complete = len(joined) - len(decoder.getstate()[0])  # the bytes after it may become a character
        run = _Run(self._waiting, complete)
        certain = int(run.edges[-2]) if len(run.edges) > 1 else 0  # the last cluster may grow
        is_certain = (run.ends <= complete) & (run.reached <= certain)
        count = len(is_certain) if is_certain.all() else int(is_certain.argmin())
        while count and run.bytes_until(run.stops[count - 1]) is None:
            count -= 1
        if not count:
            return []
        texts = run.texts()[:count]
        start, end = run.bytes_until(run.stops[count - 1]), int(run.ends[count - 1])
        self._waiting = self._waiting[count:]
        if self._waiting:  # bytes that only began a character belong to the token that completes it
            self._waiting[0] = joined[start:end] + self._waiting[0]
        return texts

    def end(self) -> list[str]:
        """Return the texts of the tokens that were still waiting: nothing more will come."""
        waiting, self._waiting = self._waiting, []
        return _Run(waiting).texts() if waiting else []


class _Run:
    """Neighbouring tokens of text, and where the clusters of their joined text end.

    A cluster belongs to the token that completes it, so a token shows what lies
    between the last complete cluster before its beginning and the last one before its end.

    Parameters
    ----------
    data
        The bytes of each token.
    length
        How many of the joined bytes are decoded; all by default.
    """

    def __init__(self, data: Sequence[bytes], length: int | None = None) -> None:
        text = b"".join(data)[:length].decode("utf-8", "surrogateescape")  # a lone surrogate per broken byte
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        broken = (codes >= 0xDC80) & (codes <= 0xDCFF)
        sizes = (
            1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        )  # bytes of each character in UTF-8
        sizes[broken] = 1
        widths = np.where(broken, len(r"\xNN"), np.where(codes == 0xFFFD, len(r"\ufffd"), 1))
        self.shown = _UNSHOWN.sub(_escaped, text)
        byte_ends = self._byte_ends = np.concatenate([[0], np.cumsum(sizes)])
        shown_ends = self._shown_ends = np.concatenate([[0], np.cumsum(widths)])
        #: Where clusters end in the shown text, in characters; the first is 0.
        self.edges = np.fromiter(
            (0, *(match.end() for match in _CLUSTER.finditer(self.shown))), dtype=np.int64
        )
        #: Where each token ends, in bytes.
        self.ends = np.cumsum([len(item) for item in data])
        # how many characters are complete where each token ends
        complete = np.searchsorted(byte_ends, self.ends, side="right") - 1
        #: Shown characters that are complete where each token ends.
        self.reached = shown_ends[complete]
        #: End of the last complete cluster before the end of each token.
        self.stops = self.edges[np.searchsorted(self.edges, self.reached, side="right") - 1]
        #: Whether each token ends between two clusters.
        self.is_clean = (byte_ends[complete] == self.ends) & (self.stops == self.reached)

    def bytes_until(self, edge: int) -> int | None:
        """Return how many bytes the shown text up to an edge are; None inside an escaped byte."""
        index = int(np.searchsorted(self._shown_ends, edge))
        return int(self._byte_ends[index]) if self._shown_ends[index] == edge else None

    def texts(self) -> list[str]:
        """Return the text that each token shows."""
        stops = self.stops.tolist()
        return [self.shown[start:stop] for start, stop in zip([0, *stops[:-1]], stops, strict=True)]


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return r"\ufffd" if code == 0xFFFD else rf"\x{code - 0xDC00:02x}"
