"""The prompt tokens that argument values of a tool call come from, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..base.text import percent, shorten, visible, visible_token
from ..experts.load import layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...analysis.argument_sources import CallSources

_MAX_TOKENS = 40
_MAX_ROWS = 24


def call_sources_figure(data: CallSources) -> Plot:
    """Draw the attention of each argument value to the prompt tokens that received most of it, and its lens.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.call_sources`.
    """
    shown = data.attention[:_MAX_ROWS]
    arguments = data.arguments[:_MAX_ROWS]
    best = np.sort(np.argsort(-shown.max(axis=0), kind="stable")[:_MAX_TOKENS])
    names = [shorten(visible_token(data.texts[token]), 16) if data.texts[token] else "" for token in best]
    labels = [
        name if name and writable(name) else f"token {token}" for name, token in zip(names, best, strict=True)
    ]
    rows = [shorten(visible(f"{each.path} = {each.value!r}"), 28) for each in arguments]
    rows = [row if writable(row) else f"argument {number}" for number, row in enumerate(rows)]
    layers = len(data.lens_layers)
    widths = [2.0 + 0.2 * len(best), *([1.0 + 0.16 * layers] if layers else [])]
    size = (0.5 + sum(widths), 2.0 + 0.32 * len(rows))
    with new_figure(*size, ncols=len(widths), squeeze=False, width_ratios=widths) as (figure, panels):
        axes = panels[0, 0]
        image = axes.imshow(
            100 * shown[:, best], cmap="viridis", vmin=0, aspect="auto", interpolation="nearest"
        )
        font = {"fontfamily": list(families()), "parse_math": False, "fontsize": 8}
        axes.set_xticks(range(len(best)), labels, rotation=90, **font)
        axes.set_yticks(range(len(rows)), rows, **font)
        axes.tick_params(length=0)
        axes.set_title("Attention of written values to the prompt")
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("mean attention, %")
        bar.outline.set_visible(False)
        if layers:
            _draw_lens(panels[0, 1], data)
    listed = "; ".join(
        f"{visible(each.path)} from {visible_token(each.source_text)} ({percent(each.share)})"
        + ("" if each.lens_layer is None else f", first in the lens from layer {each.lens_layer}")
        for each in arguments
    )
    return Plot(figure, text=f"{visible(repr(data))}: {listed}")


def _draw_lens(axes: Axes, data: CallSources) -> None:
    """Draw in which layers the logit lens has the tokens of each value as its first choice."""
    shown = 100 * data.lens[:_MAX_ROWS]
    image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    layer_ticks(axes, data.lens_layers, axis="x")
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.set(xlabel="layer", title="First in the lens")
    hide_frame(axes)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.04)
    bar.set_label("tokens of the value, %")
    bar.outline.set_visible(False)
