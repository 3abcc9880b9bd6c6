"""Figure of what attention heads do over many prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import Plot, hide_frame, new_figure

if TYPE_CHECKING:
    from ...analysis.attention.head_summary import HeadSummary

#: Layers and heads from which on only some have a label.
_MAX_ROWS, _MAX_COLUMNS = 16, 8


def head_summary_figure(data: HeadSummary) -> Plot:
    """Draw four means of every head, a row per layer: entropy, distance, first token, sinks.

    Entropy and distance are relative to attention that is equal on all visible keys, where they are 1.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.head_summary` or `gemma_lab.Survey.head_summary`.
    """
    panels = (
        ("Entropy", "÷ that of even attention", data.mean("entropy") / data.mean_if_even("entropy"), 1.0),
        ("Distance", "÷ that of even attention", data.mean("distance") / data.mean_if_even("distance"), 2.0),
        ("First token", "share of attention", data.mean("first token"), 1.0),
        ("Sinks of the prompt", "share of attention", data.mean("sink"), 1.0),
    )
    rows, columns = len(data.layers), len(data.heads)
    size = (11.0, 1.9 + max(1.2, 0.2 * rows))
    with new_figure(*size, ncols=len(panels), sharey=True) as (figure, axes):
        for panel, (title, unit, values, top) in zip(axes, panels, strict=True):
            image = panel.imshow(
                values, cmap="cividis", vmin=0, vmax=top, aspect="auto", interpolation="nearest"
            )
            panel.set(title=title, xlabel="query head")
            _ticks(panel.xaxis, data.heads, _MAX_COLUMNS)
            panel.tick_params(length=0)
            hide_frame(panel)
            beyond = bool(np.nanmax(values, initial=0) > top)
            bar = figure.colorbar(
                image, ax=panel, location="bottom", pad=0.02, extend="max" if beyond else "neither"
            )
            bar.set_label(unit)
            bar.outline.set_visible(False)
        names = [
            f"{n} {'local' if is_local else 'global'}"
            for n, is_local in zip(data.layers, data.local, strict=True)
        ]
        _ticks(axes[0].yaxis, names, _MAX_ROWS)
        axes[0].set_ylabel("layer")
    counted = [(kind, int(passed.sum())) for kind, passed in data.types().passed.items() if passed.any()]
    listed = ", ".join(f"{count} {kind}" for kind, count in counted)
    return Plot(
        figure,
        text=f"{rows * columns} heads over {data.prompts:,} prompts of {data.tokens:,} tokens: mean entropy "
        f"{_mean(panels[0][2]):.2f} of even attention's, {_mean(panels[2][2]):.0%} of the attention to the "
        f"first token, {_mean(panels[3][2]):.0%} to sinks; types: {listed or 'none'}",
    )


def _ticks(axis: Any, names: Any, limit: int) -> None:
    shown = range(0, len(names), -(-len(names) // limit))
    axis.set_ticks(list(shown), [str(names[place]) for place in shown])


def _mean(values: Any) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
