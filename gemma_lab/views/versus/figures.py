"""A comparison of two models as figures: all its panels, or one part alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from ..base.figure import Plot, new_figure
from .panels import (
    Names,
    draw_attention,
    draw_checkup,
    draw_divergence,
    draw_flips,
    draw_memory,
    draw_speed,
    short,
    side_legend,
)

if TYPE_CHECKING:
    from ...analysis.attention.distance import AttentionDistance
    from ...analysis.experts.flips import RoutingFlips
    from ...evals.versus.answers import TokenDivergence
    from ...evals.versus.checkups import CheckupComparison
    from ...evals.versus.comparison import Versus
    from ...evals.versus.resources import MemoryComparison, SpeedComparison

_SIDES = ("first", "second")
#: Width and height of a panel in inches, and the largest number of panels side by side.
_WIDTH, _HEIGHT, _ACROSS = 4.4, 3.6, 3


def versus_figure(versus: Versus) -> Plot:
    """Draw every part of a comparison that is there, each beside its value by chance or rounding.

    Parameters
    ----------
    versus
        From `gemma_lab.versus`.

    Raises
    ------
    LabError
        If no part but the answers is there.
    """
    panels = _panels(versus)
    if not panels:
        raise LabError(
            "There is nothing to draw but the answers.",
            hint="Pass checkup=True; versus.absent says what is missing, and why.",
        )
    across = min(_ACROSS, len(panels))
    down = -(-len(panels) // across)
    height = _HEIGHT * down
    if versus.checkup is not None:
        height += max(0.0, 0.24 * len(versus.checkup.skills) - 2.4)
    with new_figure(_WIDTH * across, height, nrows=down, ncols=across, squeeze=False) as (figure, grid):
        flat = list(grid.flat)
        for axes, draw in zip(flat, panels, strict=False):
            draw(figure, axes)
        for axes in flat[len(panels) :]:
            axes.set_axis_off()
        side_legend(figure, versus.names)
    return Plot(figure, text=f"{' and '.join(versus.names)}: {'; '.join(versus.findings())}")


def checkup_comparison_figure(data: CheckupComparison, *, names: Names = _SIDES) -> Plot:
    """Draw the accuracy of each skill in two models, with intervals, chance and discordant answers.

    Parameters
    ----------
    data
        The ``checkup`` of a comparison.
    names
        Titles of the models.
    """
    height = 1.6 + 0.34 * len(data.skills)
    return _alone(6.4, height, data, lambda _, axes: draw_checkup(axes, data), names=names)


def token_divergence_figure(data: TokenDivergence) -> Plot:
    """Draw which fraction of tokens has at least a divergence of the next token, beside rounding.

    Parameters
    ----------
    data
        The ``tokens`` of a comparison.
    """
    return _alone(5.2, 3.6, data, lambda _, axes: draw_divergence(axes, data))


def routing_flips_figure(data: RoutingFlips) -> Plot:
    """Draw the slots flipped and the gate weight moved of each layer, beside chance.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.routing_flips`, or the ``routing`` of a comparison.
    """
    return _alone(5.2, 3.6, data, lambda _, axes: draw_flips(axes, data))


def attention_distance_figure(data: AttentionDistance) -> Plot:
    """Draw the attention that moved of each layer and head.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.attention_distance`, or the ``attention`` of a comparison.
    """
    height = 2.0 + 0.22 * len(data.layers)
    return _alone(5.2, height, data, lambda figure, axes: draw_attention(figure, axes, data))


def memory_comparison_figure(data: MemoryComparison, *, names: Names = _SIDES) -> Plot:
    """Draw the bytes of each part of two models.

    Parameters
    ----------
    data
        The ``memory`` of a comparison.
    names
        Titles of the models.
    """
    height = 1.2 + 0.3 * len(data.parts)
    return _alone(6.4, height, data, lambda _, axes: draw_memory(axes, data), names=names)


def speed_comparison_figure(data: SpeedComparison, *, names: Names = _SIDES) -> Plot:
    """Draw the tokens per second of every round in two models.

    Parameters
    ----------
    data
        The ``speed`` of a comparison.
    names
        Titles of the models.
    """
    return _alone(4.4, 3.6, data, lambda _, axes: draw_speed(axes, data, short(names)))


def _panels(versus: Versus) -> list[Callable[[Any, Any], None]]:
    names = short(versus.names)
    panels: list[Callable[[Any, Any], None]] = []
    if (checkup := versus.checkup) is not None:
        panels.append(lambda _, axes: draw_checkup(axes, checkup))
    if (tokens := versus.tokens) is not None:
        panels.append(lambda _, axes: draw_divergence(axes, tokens))
    if (routing := versus.routing) is not None:
        panels.append(lambda _, axes: draw_flips(axes, routing, versus.routing_noise, versus.columns[:, 0]))
    if (attention := versus.attention) is not None:
        panels.append(lambda figure, axes: draw_attention(figure, axes, attention, versus.attention_noise))
    if (memory := versus.memory) is not None:
        panels.append(lambda _, axes: draw_memory(axes, memory))
    if (speed := versus.speed) is not None:
        panels.append(lambda _, axes: draw_speed(axes, speed, names))
    return panels


def _alone(
    width: float, height: float, data: Any, draw: Callable[[Any, Any], None], *, names: Names | None = None
) -> Plot:
    with new_figure(width, height) as (figure, axes):
        draw(figure, axes)
        if names is not None:
            side_legend(figure, names)
    text = repr(data)
    return Plot(figure, text=text[text.index("(") + 1 : -1])
