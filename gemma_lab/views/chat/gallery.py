"""Pictures with what was asked about them and what was said, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..base.figure import OKABE_ITO, Plot, new_figure

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 4
_LINE = 30  # characters


def gallery_figure(
    pictures: Sequence[Sequence[Image]],
    *,
    prompts: Sequence[str],
    said: Sequence[str],
    right: Sequence[str],
    good: Sequence[bool],
) -> Plot:
    """Return questions with their pictures, what a model said, and, where that is not it, what is right.

    Parameters
    ----------
    pictures
        The pictures of each question.
    prompts, said, right
        What was asked, what the model said, and the right answer, one each a question.
    good
        Whether what it said counts as right.
    """
    lines = math.ceil(len(prompts) / _COLUMNS)
    with new_figure(8.6, 2.7 * lines, nrows=lines, ncols=min(_COLUMNS, len(prompts)), squeeze=False) as (
        figure,
        grid,
    ):
        engine: Any = figure.get_layout_engine()
        engine.set(h_pad=0.12)  # between an answer and the question below it
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, images, prompt, answer, wanted, fine in zip(
            grid.flat, pictures, prompts, said, right, good, strict=False
        ):
            _show(axes, images)
            axes.set_title(_wrapped(prompt), fontsize=8, fontweight="normal", loc="left")
            told = f"{_cut(answer)}" if fine else f"{_cut(answer)}   (right: {_cut(wanted)})"
            axes.text(
                0, -0.04, told, transform=axes.transAxes, va="top", fontsize=9, fontweight="bold",
                color=OKABE_ITO["blue"] if fine else OKABE_ITO["vermillion"],
            )  # fmt: skip
    answers = "; ".join(
        f"{_cut(answer)} for {_cut(wanted)}" for answer, wanted in zip(said, right, strict=True)
    )
    return Plot(figure, text=f"{sum(good)} of {len(prompts)} right, said for right: {answers}.")


def _show(axes: Any, images: Sequence[Image]) -> None:
    """Draw a question's pictures side by side on one axes, each as a square of its own."""
    for place, image in enumerate(images):
        left = place * 1.08
        axes.imshow(image, extent=(left, left + 1, 0, 1), interpolation="bilinear")
        axes.plot([left, left + 1, left + 1, left, left], [0, 0, 1, 1, 0], color="#8A8A8A", linewidth=0.8)
    axes.set_xlim(-0.02, len(images) * 1.08 - 0.06)
    axes.set_ylim(-0.02, 1.02)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(_cut(text, 3 * _LINE), _LINE))


def _cut(text: str, longest: int = _LINE) -> str:
    plain = " ".join(text.replace("$", r"\$").split())  # a dollar would begin mathematics
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"
