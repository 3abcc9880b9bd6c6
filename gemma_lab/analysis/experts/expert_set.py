"""Sets of experts that a statistic singles out, to be tested by ablation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import whole_number
from ...display import Displayed
from ...errors import LabError


@dataclass(frozen=True, eq=False, init=False)
class ExpertSet(Displayed, Mapping[int, tuple[int, ...]]):
    """Layer to experts, with the statistic that chose them; `gemma_lab.evals.ablate_experts` tests it.

    What a statistic singles out is a hypothesis: only an ablation tells whether an answer needs the experts.

    Parameters
    ----------
    experts
        Layer to experts.
    statistic
        What chose them, e.g. ``"busiest experts"``.
    """

    experts: Mapping[int, tuple[int, ...]]
    statistic: str

    def __init__(self, experts: Mapping[int, Sequence[int]], statistic: str) -> None:
        listed = {
            int(layer): tuple(sorted({int(one) for one in of})) for layer, of in sorted(experts.items())
        }
        kept = {layer: of for layer, of in listed.items() if of}
        object.__setattr__(self, "experts", MappingProxyType(kept))
        object.__setattr__(self, "statistic", str(statistic))

    def __getitem__(self, layer: int) -> tuple[int, ...]:
        return self.experts[layer]

    def __iter__(self) -> Iterator[int]:
        return iter(self.experts)

    def __len__(self) -> int:
        return len(self.experts)

    @property
    def count(self) -> int:
        """Number of experts, over all layers."""
        return sum(map(len, self.experts.values()))

    def __repr__(self) -> str:
        listed = ", ".join(f"layer {layer}: {len(of)}" for layer, of in self.experts.items())
        return f"ExpertSet({self.count} {self.statistic}; {listed})"

    def to_pandas(self) -> Any:
        """Return one row per expert: layer, expert."""
        import pandas as pd

        pairs = [(layer, expert) for layer, of in self.experts.items() for expert in of]
        return pd.DataFrame(pairs, columns=["layer", "expert"])


def top_experts(score: NDArray[Any], layers: Sequence[int], count: int, *, statistic: str) -> ExpertSet:
    """Return the experts with the highest scores of all layers, at most half of any layer's.

    Half a layer has to be left so that a matched random set exists.

    Parameters
    ----------
    score
        ``[layers, experts]``; experts with a score of 0 or less, or NaN, are never taken.
    layers
        The model's layer index of each row.
    count
        Number of experts.
    statistic
        What the scores are, for the result.

    Raises
    ------
    LabError
        If fewer experts have a positive score.
    """
    count = whole_number("count", count, minimum=1)
    rows, experts = score.shape
    values = np.where(np.isfinite(score), score, 0.0)
    chosen: dict[int, list[int]] = {}
    for index in np.argsort(-values, axis=None, kind="stable"):
        row, expert = divmod(int(index), experts)
        listed = chosen.setdefault(int(layers[row]), [])
        if values[row, expert] <= 0 or sum(map(len, chosen.values())) == count:
            break
        if len(listed) < experts // 2:
            listed.append(expert)
    found = ExpertSet(chosen, statistic)
    if found.count < count:
        raise LabError(
            f"{found.count} of {rows * experts} experts qualify as {statistic}; {count} were asked for.",
            hint=f"Take count={max(found.count, 1)} or fewer, or more prompts.",
        )
    return found
