"""What two models take: memory of their weights, and speed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MemoryComparison(Displayed):
    """Bytes that the weights of each model take, by part.

    Attributes
    ----------
    first, second
        Part → bytes of its parameters and buffers; a tensor that is used twice counts once.
    """

    first: Mapping[str, int]
    second: Mapping[str, int]

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of both, in order."""
        return tuple(dict.fromkeys([*self.first, *self.second]))

    @property
    def totals(self) -> tuple[int, int]:
        """Bytes of all parts of each model."""
        return sum(self.first.values()), sum(self.second.values())

    def to_pandas(self) -> Any:
        """Return one row per part: first and second in bytes, and their ratio."""
        import pandas as pd

        rows = [(part, self.first.get(part, 0), self.second.get(part, 0)) for part in self.parts]
        frame = pd.DataFrame(rows, columns=["part", "first", "second"])
        frame["ratio"] = frame["second"] / frame["first"].where(frame["first"] > 0)
        return frame

    def __repr__(self) -> str:
        first, second = self.totals
        ratio = f", × {second / first:.2f}" if first else ""
        return f"MemoryComparison({first / 1e6:,.1f} MB and {second / 1e6:,.1f} MB of weights{ratio})"


@dataclass(frozen=True, eq=False)
class SpeedComparison(Displayed):
    """Speed of both models at the same prompts, over R rounds.

    Attributes
    ----------
    decoding
        Tokens per second of each round and model, after the first token of each answer, ``[R, 2]``.
    prefill
        Prompt tokens per second until the first token, ``[R, 2]``; NaN for a server.
    alternated
        Whether both were measured in turn, in changing order, with both in memory. Otherwise one was measured
        after the other, and what else the machine did counts for one of them.
    whole
        Whether `decoding` is of whole answers, prefill included: a server tells no other times.
    """

    decoding: Floats
    prefill: Floats
    alternated: bool
    whole: bool = False

    @property
    def unit(self) -> str:
        """What `decoding` is: ``"decoding, tokens/s"``, or of whole answers."""
        return "whole answers, tokens/s" if self.whole else "decoding, tokens/s"

    @property
    def rounds(self) -> int:
        """R."""
        return len(self.decoding)

    @property
    def medians(self) -> tuple[float, float]:
        """Median tokens per second of decoding of each model."""
        first, second = np.median(self.decoding, axis=0)
        return float(first), float(second)

    @property
    def ratios(self) -> Floats:
        """Second ÷ first of each round, ``[R]``."""
        return np.asarray(self.decoding[:, 1] / self.decoding[:, 0])

    @property
    def spread(self) -> float:
        """Largest ÷ smallest tokens per second of the same model over the rounds; NaN for one round."""
        if self.rounds < 2:
            return math.nan
        return float((self.decoding.max(axis=0) / self.decoding.min(axis=0)).max())

    def to_pandas(self) -> Any:
        """Return one row per round and model: tokens per second of decoding and of the prefill."""
        import pandas as pd

        rows = [
            (number, side, self.decoding[number, index], self.prefill[number, index])
            for number in range(self.rounds)
            for index, side in enumerate(("first", "second"))
        ]
        return pd.DataFrame(rows, columns=["round", "side", "decoding", "prefill"])

    def __repr__(self) -> str:
        first, second = self.medians
        how = "in turn" if self.alternated else "one after the other"
        of = " of whole answers" if self.whole else ""
        return (
            f"SpeedComparison({first:.1f} and {second:.1f} tokens/s{of}, × {np.median(self.ratios):.2f} "
            f"({self.ratios.min():.2f} to {self.ratios.max():.2f} over {self.rounds} rounds, measured {how}))"
        )
