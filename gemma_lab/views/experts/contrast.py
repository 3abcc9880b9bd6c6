"""Expert contrast as a figure: the score of every expert, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...analysis.experts.contrast import ExpertContrast


def expert_contrast_figure(data: ExpertContrast) -> Plot:
    """Draw the score of every expert, a row of points per layer, and those that exceed chance.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.expert_contrast`.
    """
    found = data.found
    with new_figure(7.5, 1.7 + 0.32 * len(data.layers)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, score in enumerate(data.score):
            shift = 0.5 * (np.arange(len(score)) * 0.618 % 1 - 0.5)  # spread out, the same every time
            for which, colour, size, label in (
                (~found[row], "sky", 3, "within chance"), (found[row], "vermillion", 6, "beyond chance"),
            ):  # fmt: skip
                axes.plot(score[which], row + shift[which], ls="", marker="o", ms=size, mec=INK, mew=0.2,
                          color=OKABE_ITO[colour], label=label if row == 0 else None)  # fmt: skip
        axes.set_yticks(range(len(data.layers)), [str(layer) for layer in data.layers])
        axes.set(
            ylim=(len(data.layers) - 0.4, -0.6), ylabel="layer",
            xlabel=f"standard errors; right: used more in {data.names[0]} than in {data.names[1]}",
            title=f"Use of {data.score.size} experts: {data.names[0]} and {data.names[1]}",
        )  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    more = int((found & (data.score > 0)).sum())
    return Plot(
        figure,
        text=f"{data.names[0]} against {data.names[1]}: {more} of {data.score.size} experts are used more "
        f"and {int(found.sum()) - more} less than by chance (family-wise {data.alpha:.0%})",
    )
