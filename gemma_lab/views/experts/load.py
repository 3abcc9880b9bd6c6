"""The load of every expert as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...analysis.experts.load import ExpertLoad


def expert_load_figure(data: ExpertLoad) -> Plot:
    """Draw each expert's load relative to the mean of its layer, and the imbalance of each layer.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.expert_load`.
    """
    rows = len(data.layers)
    with new_figure(10.5, 1.9 + 0.19 * rows, ncols=2, width_ratios=[6, 1]) as (figure, (heat, side)):
        relative = data.counts / data.counts.mean(axis=1, keepdims=True)
        top = max(2.0, float(np.quantile(relative, 0.995)))
        image = heat.imshow(
            relative, cmap="cividis", vmin=0, vmax=top, aspect="auto", interpolation="nearest"
        )
        heat.set(xlabel="expert", ylabel="layer", title="Load of each expert")
        layer_ticks(heat, data.layers)
        hide_frame(heat)
        bar = figure.colorbar(image, ax=heat, extend="max" if relative.max() > top else "neither", pad=0.01)
        bar.set_label("load ÷ the layer's mean")
        bar.outline.set_visible(False)
        side.barh(range(rows), data.gini, color=OKABE_ITO["blue"], height=0.75)
        side.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), xlabel="Gini, 0 (even) … 1", title="Imbalance")
        side.set_yticks([])
        hide_frame(side, keep="bottom")
    worst = int(data.gini.argmax())
    return Plot(
        figure,
        text=f"Load of {data.experts} experts in {rows} layers over {data.tokens:,} tokens: busiest expert "
        f"{data.peak.max():.1f} × the mean; most imbalanced layer {data.layers[worst]} "
        f"(Gini {data.gini[worst]:.2f})",
    )


def layer_ticks(
    axes: Axes, layers: tuple[int, ...], *, axis: Literal["x", "y"] = "y", limit: int = 16
) -> None:
    """Label an axis of layers with the model's layer indices, at most `limit` of them."""
    rows: Any = range(0, len(layers), -(-len(layers) // limit))
    names = [str(layers[row]) for row in rows]
    if axis == "y":
        axes.set_yticks(rows, names)
    else:
        axes.set_xticks(rows, names)
    axes.tick_params(axis=axis, length=0)
