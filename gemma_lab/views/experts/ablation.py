"""Figure of an expert ablation: the effect of a set beside those of random sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...evals.expert_ablation import ExpertAblation


def expert_ablation_figure(data: ExpertAblation) -> Plot:
    """Draw the effect of the ablated experts beside those of random sets, for all examples and each group.

    Parameters
    ----------
    data
        From `gemma_lab.evals.ablate_experts`.
    """
    table = data.to_pandas()
    groups = np.array(data.groups)
    rows = np.arange(len(table))
    with new_figure(7.5, 1.5 + 0.45 * len(rows)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, entry in zip(rows, table.itertuples(), strict=True):
            of = np.ones(len(groups), bool) if row == 0 else groups == entry.group
            controls = (data.intact[of] - data.controls[:, of]).mean(axis=1)
            shift = 0.28 * (np.arange(len(controls)) * 0.618 % 1 - 0.5)  # spread out, the same every time
            axes.plot(controls, row + shift, ls="", marker=".", ms=4, color=OKABE_ITO["sky"], alpha=0.6,
                      label="random sets of the same size" if row == 0 else None)  # fmt: skip
            axes.plot(entry.effect, row, ls="", marker="D", ms=8, color=OKABE_ITO["vermillion"], mec=INK,
                      label=f"the {data.count} experts" if row == 0 else None)  # fmt: skip
            axes.annotate(
                f"p = {entry.p:.2g}", (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
            )
        axes.set_yticks(rows, [f"{entry.group} ({entry.examples})" for entry in table.itertuples()])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="log-probability lost per answer token, nats",
                 title=f"{data.model} without {data.count} experts")  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    low, high = np.quantile(data.control_effects, [0.025, 0.975])
    return Plot(
        figure,
        text=f"{data.model} without {data.count} experts loses {data.effect:.3f} nats per answer token over "
        f"{len(data.intact)} answers; {len(data.controls)} {data.match}-matched random sets lose "
        f"{low:.3f} to {high:.3f} (95 %), p = {data.p:.2g}",
    )
