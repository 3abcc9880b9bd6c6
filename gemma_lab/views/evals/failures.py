"""Wrong answers with the media and the text of their questions, as a figure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from .report import cut, spread

if TYPE_CHECKING:
    from ...evals.questions import Question
    from ...evals.report import Checkup, GradedAnswer

_ROW = 1.15  # inches per failure
_WRAP = 62  # characters per line of the text beside it
_SIDE = 96  # pixels of an image in the figure
_FRAMES = 6  # frames shown of a video


def failures_figure(checkup: Checkup, *, limit: int = 12) -> Plot:
    """Draw wrong answers of every skill: the media on the left, prompt and reply beside them.

    Parameters
    ----------
    checkup
        Graded answers of a model.
    limit
        About how many to show; at least one of every skill that has any.
    """
    shown = spread(checkup.failures, limit)
    count = len(checkup.failures)
    title = f"{checkup.model}: {count} of {len(checkup.answers)} answers wrong, {len(shown)} shown"
    with new_figure(8.6, 0.5 + _ROW * max(1, len(shown)), nrows=max(1, len(shown)), ncols=2, squeeze=False,
              gridspec_kw={"width_ratios": (2, 3)}) as (figure, axes):  # fmt: skip
        figure.suptitle(_writable(title), fontsize=11, parse_math=False)
        for pair in axes:
            for one in pair:
                hide_frame(one)
                one.set_xticks([])
                one.set_yticks([])
        for answer, (left, right) in zip(shown, axes, strict=False):
            _media(left, answer.question)
            _text(right, answer)
    pairs = "; ".join(
        f"{a.question.skill}: {cut(a.reply)!r} instead of {cut(a.question.wanted)!r}" for a in shown
    )
    return Plot(figure, text=f"{title}. {pairs}".strip())


def _media(axes: Any, question: Question) -> None:
    """Draw the images, the frames with their times, or the waveform; nothing for text-only questions."""
    sound = question.audio  # decoded at every access
    if sound is not None:
        samples = sound.samples[::16]
        axes.plot([n * sound.seconds / len(samples) for n in range(len(samples))], samples,
                  color=OKABE_ITO["blue"], linewidth=0.5)  # fmt: skip
        axes.set_xlim(0, sound.seconds)
        axes.set_title(f"sound, {sound.seconds:.1f} s", fontsize=8, loc="left")
        return
    images, labels = question.opened_images, [""] * len(question.images)
    if question.video is not None:
        frames, fps = question.video
        step = max(1, -(-len(frames) // _FRAMES))
        images = frames[::step]
        labels = [f"{place * step / fps:.1f} s" for place in range(len(images))]
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        image.thumbnail((_SIDE, _SIDE))
        axes.imshow(image, extent=(place, place + 0.94, 0, 0.94), aspect="equal")
        axes.text(place, 0.98, label, fontsize=7, va="bottom")
    if images:
        axes.set_xlim(0, max(3, len(images)))
        axes.set_ylim(0, 1.2)
        axes.set_anchor("W")


def _text(axes: Any, answer: GradedAnswer) -> None:
    question = answer.question
    lines = [
        (f"{question.skill} ({question.group})" if question.group else question.skill, "bold"),
        (cut(question.prompt), "normal"),
        (f"right: {question.wanted}", "normal"),
        (f"reply: {cut(answer.reply) or '(nothing)'}", "normal"),
    ]
    place = 1.0
    for text, weight in lines:
        wrapped = textwrap.wrap(_writable(" ".join(text.split())), _WRAP)[:3] or [""]
        axes.text(0, place, "\n".join(wrapped), fontsize=8, va="top", fontweight=weight, parse_math=False,
                  fontfamily=list(families()))  # fmt: skip
        place -= 0.19 * len(wrapped)
    axes.set_ylim(min(0.0, place), 1)


def _writable(text: str) -> str:
    """Replace characters that no font has; `Plot.text` always has the full text."""
    return "".join(character if writable(character) else "□" for character in text)
