"""The loss of a training run: as an SVG that is redrawn while it lasts, and as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, group, tag

if TYPE_CHECKING:
    from ...models.fine_tuning.progress import LossCurve

_WIDTH, _HEIGHT = 640, 200
_LEFT, _BOTTOM, _TOP, _RIGHT = 48, 34, 22, 16  # margins, pixels
_POINTS = 400  # points of a line at most
_TEXT = "font:11px sans-serif;fill:currentColor"


def loss_curve_html(curve: LossCurve) -> Markup:
    """Return the loss by step as an SVG, with the running mean; light, as it is redrawn during training."""
    label = f"Fine-tuning of {curve.title}: {curve!r}" if curve.title else repr(curve)
    if not curve.losses:
        return group(label, tag("div", "no steps yet"))
    smooth = curve.smoothed()
    steps = len(curve.losses) / max(curve.fraction, 1e-6)  # the axis has the whole run
    highest = max(max(curve.losses), 1e-6)
    top = _ceiling(highest)
    parts = [
        _rule(top * share, top) + _mark(_LEFT - 6, _y(top * share, top) + 4, f"{top * share:.3g}", "end")
        for share in (0.0, 0.5, 1.0)
    ]
    parts += [
        _mark(_x(at * steps, steps), _HEIGHT - 16, f"{at * steps:,.0f}", "middle")
        for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    parts.append(_mark((_LEFT + _WIDTH) / 2, _HEIGHT - 2, "step", "middle"))
    parts.append(_mark(_LEFT, _TOP - 8, "loss, nats per token", "start"))
    parts.append(_line(curve.losses, steps, top, colour=OKABE_ITO["sky"], width=1))
    parts.append(_line(smooth, steps, top, colour=OKABE_ITO["blue"], width=2.2))
    drawing = tag(
        "svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label,
        style=f"max-width:{_WIDTH}px;width:100%;display:block",
    )  # fmt: skip
    done = f"step {len(curve.losses):,} of about {steps:,.0f}"
    if curve.fraction >= 1:
        done = f"{len(curve.losses):,} steps"
    caption = (
        f"{done}: {smooth[-1]:.3f} nats per token "
        f"(mean of the last {min(len(smooth), max(5, len(smooth) // 20))} steps; first {smooth[0]:.3f})"
    )
    return group(label, drawing, tag("div", caption, style="font-size:.85em;opacity:.8"))


def loss_curve_figure(curve: LossCurve) -> Plot:
    """Draw the loss by step, with its running mean."""
    with new_figure(7.2, 2.6) as (figure, axes):
        draw_losses(axes, curve)
        axes.set_title(f"Fine-tuning of {curve.title}" if curve.title else "Loss of a training run")
    return Plot(figure, text=f"{repr(curve)[10:-1]}.")


def draw_losses(axes: Any, curve: LossCurve) -> None:
    """Draw the loss by step into axes."""
    steps = range(1, len(curve.losses) + 1)
    axes.plot(steps, curve.losses, color=OKABE_ITO["sky"], linewidth=0.9, label="of each step")
    axes.plot(steps, curve.smoothed(), color=OKABE_ITO["blue"], linewidth=2.2, label="running mean")
    axes.set_ylim(0, None)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per token")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(fontsize=8.5)
    hide_frame(axes, keep="bottom")


def _ceiling(value: float) -> float:
    """Return the next round number: 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * factor >= value)


def _x(step: float, steps: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / max(steps, 1e-9)


def _y(loss: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * loss / top


def _rule(loss: float, top: float) -> Markup:
    at = f"{_y(loss, top):.1f}"
    return tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=at, y2=at, stroke="currentColor", stroke_opacity=0.2)


def _mark(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, style=_TEXT)


def _line(losses: Sequence[float], steps: float, top: float, *, colour: str, width: float) -> Markup:
    every = max(1, math.ceil(len(losses) / _POINTS))
    points = [*range(0, len(losses) - 1, every), len(losses) - 1]
    path = " ".join(f"{_x(at + 1, steps):.1f},{_y(losses[at], top):.1f}" for at in points)
    return tag("polyline", points=path, fill="none", stroke=colour, stroke_width=width)
