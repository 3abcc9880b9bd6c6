"""Figures of expert co-activation, of the overlap of two routings, and of routing stability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, new_figure
from .load import layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...analysis.experts.coactivation import Coactivation
    from ...analysis.experts.overlap import RoutingOverlap, RoutingStability


def coactivation_figure(data: Coactivation, *, count: int = 15) -> Plot:
    """Draw the pairs of experts with the strongest co-activation: observed and expected counts.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.coactivation`.
    count
        Number of pairs.
    """
    pairs = data.top(count)
    rows = np.arange(len(pairs))
    with new_figure(7.5, 1.5 + 0.26 * len(pairs)) as (figure, axes):
        axes.barh(rows, [pair[3] for pair in pairs], color=OKABE_ITO["blue"], height=0.7, label="observed")
        expected = [pair[4] for pair in pairs]
        axes.plot(
            expected, rows, ls="", marker="|", ms=12, mew=2, color=OKABE_ITO["orange"], label="expected"
        )
        axes.set_yticks(rows, [f"layer {layer}: {first} + {second}" for layer, first, second, *_ in pairs])
        axes.set(ylim=(len(pairs) - 0.4, -0.6), xlabel="tokens routed to both experts", title="Co-activation")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside lower left", ncols=2)
    layer, first, second, observed, independent, _ = pairs[0]
    return Plot(
        figure,
        text=f"Strongest co-activation over {data.tokens:,} tokens: layer {layer}, experts {first} and "
        f"{second}, {observed:,} tokens where {independent:.1f} are expected",
    )


def routing_overlap_figure(data: RoutingOverlap) -> Plot:
    """Draw the overlap of two routings by layer: loads, and sets of experts.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.routing_overlap`.
    """
    with new_figure(7.5, 3.4) as (figure, axes):
        _lines(axes, data.layers, {"load": data.load, "experts used": data.experts})
        if data.aligned is not None:
            _lines(axes, data.layers, {"top-k sets, token by token": data.aligned}, start=2)
        axes.set(ylabel="overlap", ylim=(0, 1.03), title="Overlap of two routings")
        figure.legend(loc="outside lower left", ncols=3)
    first, second = data.tokens
    return Plot(
        figure,
        text=f"Overlap of the routings of {first:,} and {second:,} tokens in {len(data.layers)} layers: load "
        f"{data.load.mean():.2f}, experts {data.experts.mean():.2f} on average",
    )


def routing_stability_figure(data: RoutingStability) -> Plot:
    """Draw the load overlap within and between meanings by layer; filled markers have p ≤ 0.05.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.routing_stability`.
    """
    rows, significant = np.arange(len(data.layers)), data.p <= 0.05
    with new_figure(7.5, 3.4) as (figure, axes):
        _lines(axes, data.layers, {"same meaning": data.within, "different meanings": data.between})
        stars = {"ls": "", "marker": "*", "ms": 10, "color": OKABE_ITO["black"], "label": "p ≤ 0.05"}
        axes.plot(rows[significant], data.within[significant], **stars)
        axes.set(ylabel="load overlap", title="Routing of paraphrases")
        figure.legend(loc="outside lower left", ncols=3)
    return Plot(
        figure,
        text=f"Load overlap of {data.prompts} prompts of {data.meanings} meanings: {data.within.mean():.3f} "
        f"within a meaning, {data.between.mean():.3f} between; p ≤ 0.05 in {int(significant.sum())} of "
        f"{len(rows)} layers",
    )


def _lines(axes: Axes, layers: tuple[int, ...], lines: dict[str, np.ndarray], *, start: int = 0) -> None:
    rows, colours = np.arange(len(layers)), ("blue", "orange", "green")
    for number, (name, values) in enumerate(lines.items(), start):
        axes.plot(
            rows, values, color=OKABE_ITO[colours[number]], marker="os^"[number], ms=4, lw=1.8, label=name
        )
    axes.set_xlabel("layer")
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    layer_ticks(axes, layers, axis="x")
