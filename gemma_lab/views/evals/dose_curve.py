"""Figure of a dose curve: the effect of steering beside that of random directions, and the damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...evals.steering import DoseCurve


#: Strengths that are labelled one by one.
_TICKS = 9


def dose_curve_figure(data: DoseCurve) -> Plot:
    """Draw effect and check-up score by strength, with 95 % intervals and those of random directions.

    Parameters
    ----------
    data
        From `gemma_lab.evals.dose_curve`.
    """
    table = data.to_pandas()
    strengths = table["strength"].to_numpy()
    color, control = OKABE_ITO["vermillion"], OKABE_ITO["blue"]
    panels = 2 if data.asked else 1
    with new_figure(4.3 * panels, 3.2, ncols=panels, squeeze=False) as (figure, grid):
        axes = grid[0]
        for number, line in enumerate(data.control_effects):
            axes[0].plot(strengths, line, color=control, lw=0.9, alpha=0.55, ls="--",
                         label="random directions of the same length" if not number else None)  # fmt: skip
        spread = _spread(table["effect"], table["low"], table["high"])
        axes[0].errorbar(strengths, table["effect"], yerr=spread, color=color, marker="o", ms=5, lw=1.8,
                         capsize=2, label="the direction")  # fmt: skip
        axes[0].axhline(0, color=FAINT, lw=1)
        axes[0].set(title="Effect on the targets", ylabel="log-probability per token, change in nats")
        axes[0].legend(frameon=False, fontsize=8.5)
        if data.asked:
            spread = 100 * _spread(table["score"], table["score_low"], table["score_high"])
            axes[1].errorbar(strengths, 100 * table["score"], yerr=spread, color=color, marker="o", ms=5,
                             lw=1.8, capsize=2)  # fmt: skip
            axes[1].plot(
                strengths, 100 * table["control_score"], color=control, lw=1.2, ls="--", marker="s", ms=4
            )
            axes[1].set(title="Check-up", ylabel="right answers, %", ylim=(0, 103))
        for one in axes:
            one.set_xlabel("strength")
            if len(strengths) <= _TICKS:
                one.set_xticks(strengths, [f"{strength:g}" for strength in strengths])
            one.grid(axis="y", color=FAINT, lw=0.8)
            one.set_axisbelow(True)
            hide_frame(one, keep="left bottom")
    best = int(np.argmax(data.effects))
    damage = ""
    if data.asked:
        zero = data.strengths.index(0.0)
        damage = f"; check-up {data.right[best]}/{data.asked} there, {data.right[zero]}/{data.asked} at 0"
    controls = data.control_effects[:, best]
    return Plot(
        figure,
        text=f"{data.model} steered along {data.direction}: largest effect {data.effects[best]:+.2f} nats "
        f"per token at strength {data.strengths[best]:g}, random directions {controls.min():+.2f} to "
        f"{controls.max():+.2f}{damage}",
    )


def _spread(mean: object, low: object, high: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    middle, lower, upper = (np.asarray(each, dtype=float) for each in (mean, low, high))
    lower, upper = (np.where(np.isfinite(each), each, middle) for each in (lower, upper))
    found: np.ndarray[Any, np.dtype[np.float64]] = np.stack([middle - lower, upper - middle]).clip(0)
    return found
