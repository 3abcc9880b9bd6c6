"""Knock out the heads or experts that look most important, and random ones of the same size."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...display import Displayed
from ...trace.interventions.edit import Edit
from ..ablation.components import Components, Unit, by_layer
from ..ablation.control_sets import random_sets

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Knockout(Displayed):
    """What an answer loses without the candidates, and without random sets of the same size.

    The measure is the mean log-probability per token of the model's own answer, read after the prompt. A
    statistic that picks candidates does not say what they cause (arXiv:2606.10703), so they are compared with
    sets drawn at random (arXiv:2606.25092).

    Attributes
    ----------
    kind
        ``"heads"`` (their output is zero) or ``"experts"`` (they are never selected).
    chosen
        Layer and number of each candidate, the best first.
    scores
        The statistic that picked them, one per candidate.
    statistic, match
        What it is, and what random sets share with the candidates, in words.
    effect
        Loss of log-probability per answer token without all candidates, nats; positive is damage.
    alone
        The same without each candidate alone, not tested.
    controls
        The same without each random set, ``[draws]``.
    adjusted
        P value of all knock-outs of a scan together (Holm 1979).
    """

    kind: Literal["heads", "experts"]
    chosen: tuple[Unit, ...]
    scores: tuple[float, ...]
    statistic: str
    match: str
    effect: float
    alone: tuple[float, ...]
    controls: Array = field(repr=False)
    adjusted: float = float("nan")

    @property
    def p(self) -> float:
        """P value, ``(1 + b) ÷ (1 + draws)`` with b random sets that do as much damage or more."""
        return (1 + int((self.controls >= self.effect).sum())) / (1 + len(self.controls))

    def to_pandas(self) -> Any:
        """Return one row per candidate: layer, head or expert, score, loss alone (needs pandas)."""
        import pandas as pd

        rows = [
            (*unit, score, loss)
            for unit, score, loss in zip(self.chosen, self.scores, self.alone, strict=True)
        ]
        return pd.DataFrame(rows, columns=["layer", self.kind[:-1], self.statistic, "nats lost alone"])

    def __repr__(self) -> str:
        low, high = np.quantile(self.controls, (0.025, 0.975)) if len(self.controls) else (np.nan, np.nan)
        return (
            f"Knockout({len(self.chosen)} {self.kind}: {self.effect:+.3f} nats per answer token, "
            f"{len(self.controls)} random sets {low:+.3f} to {high:+.3f}, p = {self.adjusted:.3f} adjusted)"
        )


def knock_out(
    kind: Literal["heads", "experts"],
    scores: dict[Unit, float],
    strata: Mapping[Unit, Hashable],
    *,
    count: int,
    draws: int,
    seed: int,
    statistic: str,
    match: str,
    logprob: Callable[[Edit | None], float],
    intact: float,
    advance: Callable[[], Any],
) -> Knockout:
    """Knock out the best units together, each alone, and random sets.

    Parameters
    ----------
    kind
        Of the units.
    scores
        Unit to the statistic that picks candidates; the largest are taken.
    strata
        Stratum of every unit: random sets have as many units of each, drawn from all of them
        (`gemma_lab.evals.ablation.control_sets`).
    count
        Number of candidates.
    draws, seed
        Number of random sets, and the seed of the draws. Sets are different; there can be fewer.
    statistic, match
        See `Knockout`.
    logprob, intact
        Returns the measure under an edit; the measure without one.
    advance
        Called after each reading.
    """
    best = sorted(scores, key=lambda unit: (-scores[unit], unit))[:count]

    def loss(units: Components) -> float:
        found = intact - logprob(_edit(kind, units))
        advance()
        return found

    chosen = by_layer(best)
    sets = random_sets(chosen, strata, draws=draws, seed=seed)
    return Knockout(
        kind=kind,
        chosen=tuple(best),
        scores=tuple(float(scores[unit]) for unit in best),
        statistic=statistic,
        match=match,
        effect=loss(chosen),
        alone=tuple(loss(by_layer([unit])) for unit in best),
        controls=np.array([loss(units) for units in sets]),
    )


def _edit(kind: str, units: Components) -> Edit:
    return Edit(ablate_heads=units) if kind == "heads" else Edit(ablate_experts=units)
