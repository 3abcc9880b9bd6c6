"""Divergence of routing between languages or other labels, by layer, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import Plot, hide_frame, new_figure
from .load import layer_ticks

if TYPE_CHECKING:
    from ...analysis.experts.divergence import RoutingDivergence


def routing_divergence_figure(data: RoutingDivergence, reference: str | None = None) -> Plot:
    """Draw the divergence of every label from one of them by layer; values within chance are crossed out.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.routing_divergence`.
    reference
        The reference label, which has no row. Default: the first. Prefer language codes or English
        names to labels in scripts that matplotlib may not shape.

    Raises
    ------
    LabError
        If there is no such label.
    """
    reference = data.labels[0] if reference is None else reference
    bits, limit = data.against(reference)
    order = [row for row in np.argsort(bits.mean(axis=1)) if data.labels[row] != reference]
    bits, limit = bits[order], limit[order]
    noise = bits <= limit
    with new_figure(2.6 + 0.3 * max(len(data.layers), 12), 1.7 + 0.27 * len(order)) as (figure, axes):
        image = axes.imshow(bits, cmap="viridis", vmin=0, aspect="auto", interpolation="nearest")
        ys, xs = np.nonzero(noise)
        axes.plot(xs, ys, ls="", marker="x", color="white", ms=5, mew=1.2)
        axes.set_yticks(range(len(order)), [data.labels[row] for row in order])
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel="layer", title=f"Divergence of routing from {reference}")
        layer_ticks(axes, data.layers, axis="x")
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("Jensen–Shannon divergence, bits\n(×: within chance)")
        bar.outline.set_visible(False)
    nearest, farthest = data.labels[order[0]], data.labels[order[-1]]
    return Plot(
        figure,
        text=f"Divergence of routing from {reference}, mean over {len(data.layers)} layers: "
        f"nearest {nearest} {bits[0].mean():.3f} bits, farthest {farthest} {bits[-1].mean():.3f} bits; "
        f"{int(noise.sum())} of {noise.size} cells within chance",
    )
