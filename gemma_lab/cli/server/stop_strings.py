"""Cut an answer before its stop string while it is streamed, as OpenAI's API does."""

from __future__ import annotations

from collections.abc import Sequence


class StopCut:
    """Passes text on up to the first stop string; what may be the beginning of one is held back.

    Parameters
    ----------
    strings
        The stop strings.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = tuple(strings)
        self._held = ""
        self._cut = False

    def add(self, text: str) -> str:
        """Return the text that is certain after more of it came."""
        if not self._strings or self._cut:
            return "" if self._cut else text
        self._held += text
        found = [
            (place + len(each), place) for each in self._strings if (place := self._held.find(each)) >= 0
        ]
        if found:  # the one that is complete first, whatever the pieces; of those, the longest
            self._cut = True
            certain, self._held = self._held[: min(found)[1]], ""
            return certain
        keep = max(
            (
                size
                for each in self._strings
                for size in range(min(len(each) - 1, len(self._held)), 0, -1)
                if self._held.endswith(each[:size])
            ),
            default=0,
        )
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def end(self) -> str:
        """Return the text that was held back, when nothing follows it."""
        rest, self._held = self._held, ""
        return rest
