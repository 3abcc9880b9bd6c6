"""The tokens with the largest activations of every feature, kept while prompts are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...models.tokens.vocabulary import Vocabulary
    from ...trace.records.features import Features

Array = np.ndarray[Any, np.dtype[Any]]
#: Tokens that are kept of a feature, entries above which the others are dropped, tokens of context.
_BEST, _ENTRIES, _CONTEXT = 8, 1 << 21, 12


@dataclass(frozen=True)
class FeatureToken:
    """One token with a feature: its activation, prompt, row, text and surroundings."""

    activation: float
    prompt: int
    token: int
    text: str
    before: str
    after: str


class FeatureTokens(tuple[FeatureToken, ...], Displayed):
    """The tokens with the largest activations of a feature, largest first.

    Tokens of the largest activations show what a feature is about at most in part: it is as active, more
    weakly, elsewhere.
    """

    __slots__ = ()

    def to_pandas(self) -> Any:
        """Return one row per token: activation, prompt, token, text, before, after (needs pandas)."""
        import pandas as pd

        columns = ("activation", "prompt", "token", "text", "before", "after")
        return pd.DataFrame([[getattr(one, name) for name in columns] for one in self], columns=columns)

    def __repr__(self) -> str:
        listed = ", ".join(f"{one.text!r} {one.activation:.2f}" for one in self)
        return f"FeatureTokens({listed or 'in no token'})"


class TopTokens:
    """The eight largest activations of every feature over the prompts that were added.

    Parameters
    ----------
    vocabulary
        Names the tokens.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._prompts: list[Array] = []
        self._parts: list[Array] = []  # [entries, 4]: feature, activation, prompt, row
        self._count = 0

    def add(self, number: int, ids: Sequence[int], features: Features) -> None:
        """Add the features of a prompt, which are those of its tokens `ids`."""
        self._prompts.append(np.asarray(ids, dtype=np.int32))
        row, rank = np.nonzero((features.ids >= 0) & features.counted[:, None])
        columns = (features.ids[row, rank], features.activations[row, rank], np.full(len(row), number), row)
        self._parts.append(np.stack([column.astype(np.float64) for column in columns], axis=1))
        self._count += len(row)
        if self._count > _ENTRIES:
            self._prune()

    def finished(self) -> TopTokens:
        """Return the object after dropping all but the largest activations of each feature."""
        self._prune()
        return self

    def of(self, feature: int) -> FeatureTokens:
        """Return the tokens of a feature; none if it was in no token."""
        entries = self._parts[0] if self._parts else np.zeros((0, 4))
        first, last = np.searchsorted(entries[:, 0], (feature, feature + 1))
        return FeatureTokens(self._token(entry) for entry in entries[first:last])

    def _prune(self) -> None:
        if not self._parts:
            return
        entries = np.concatenate(self._parts)
        entries = entries[np.lexsort((entries[:, 3], entries[:, 2], -entries[:, 1], entries[:, 0]))]
        starts = np.searchsorted(entries[:, 0], entries[:, 0])
        self._parts = [entries[np.arange(len(entries)) - starts < _BEST]]
        self._count = len(self._parts[0])

    def _token(self, entry: Array) -> FeatureToken:
        activation, (prompt, row) = float(entry[1]), (int(each) for each in entry[2:])
        ids = self._prompts[prompt]
        names = [
            self._vocabulary.name(int(index)) for index in ids[max(0, row - _CONTEXT) : row + _CONTEXT + 1]
        ]
        at = min(row, _CONTEXT)
        return FeatureToken(activation, prompt, row, names[at], "".join(names[:at]), "".join(names[at + 1 :]))
