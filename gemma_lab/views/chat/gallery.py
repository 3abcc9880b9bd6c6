"""Questions about images with the model's replies, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base.figure import OKABE_ITO, Plot, new_figure
from ..base.text import shorten

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 4
_LINE = 30  # characters


def gallery_figure(
    images: Sequence[Sequence[Image]],
    *,
    prompts: Sequence[str],
    replies: Sequence[str],
    answers: Sequence[str],
    correct: Sequence[bool],
) -> Plot:
    """Draw questions with their images, the model's replies, and the right answers where a reply is wrong.

    Parameters
    ----------
    images
        The images of each question.
    prompts, replies, answers
        Prompt, reply and right answer, one per question.
    correct
        Whether each reply is correct.
    """
    lines = math.ceil(len(prompts) / _COLUMNS)
    columns = min(_COLUMNS, len(prompts))
    with new_figure(8.6, 2.7 * lines, nrows=lines, ncols=columns, squeeze=False) as (figure, grid):
        engine: Any = figure.get_layout_engine()
        engine.set(h_pad=0.12)  # between a reply and the prompt below it
        for axes in grid.flat:
            axes.set_axis_off()
        rows = zip(grid.flat, images, prompts, replies, answers, correct, strict=False)
        for axes, shown, prompt, reply, answer, is_correct in rows:
            _show(axes, shown)
            axes.set_title(_wrapped(prompt), fontsize=8, fontweight="normal", loc="left")
            axes.text(
                0,
                -0.04,
                _cut(reply) if is_correct else f"{_cut(reply)}   (right: {_cut(answer)})",
                transform=axes.transAxes,
                va="top",
                fontsize=9,
                fontweight="bold",
                color=OKABE_ITO["blue" if is_correct else "vermillion"],
            )
    pairs = "; ".join(
        f"{_cut(reply)} for {_cut(answer)}" for reply, answer in zip(replies, answers, strict=True)
    )
    return Plot(figure, text=f"{sum(correct)} of {len(prompts)} correct, reply for right answer: {pairs}.")


def _show(axes: Any, images: Sequence[Image]) -> None:
    """Draw the images of a question side by side, each as a square."""
    for index, image in enumerate(images):
        left = index * 1.08
        axes.imshow(image, extent=(left, left + 1, 0, 1), interpolation="bilinear")
        axes.plot([left, left + 1, left + 1, left, left], [0, 0, 1, 1, 0], color="#8A8A8A", linewidth=0.8)
    axes.set_xlim(-0.02, len(images) * 1.08 - 0.06)
    axes.set_ylim(-0.02, 1.02)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(_cut(text, 3 * _LINE), _LINE))


def _cut(text: str, length: int = _LINE) -> str:
    return shorten(" ".join(text.replace("$", r"\$").split()), length)  # dollars would delimit formulas
