"""A check-up as text, as tables with wrong answers, and as a figure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ...evals.report import COLUMNS
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, escape, join, table, tag
from .tool_calls import tool_call_accuracy_html

if TYPE_CHECKING:
    from ...evals.report import Checkup, GradedAnswer
    from ...evals.score import Score

_MAX_FAILURES = 12  # failures in the HTML view
_MAX_LENGTH = 160  # characters of a prompt or an answer in a table


def checkup_html(checkup: Checkup) -> Markup:
    """Return the scores as a table, and the first wrong answers with their images as another."""
    scores = table(
        checkup.rows(),
        columns=COLUMNS,
        caption=f"Check-up of {checkup.model}",
        align="lrrrr",
        notes=[f"{skill}: not asked, {why}" for skill, why in checkup.not_asked.items()],
    )
    for accuracy in checkup.structured.values():
        scores += tool_call_accuracy_html(accuracy)
    wrong = checkup.failures
    if not wrong:
        return scores
    shown = spread(wrong, _MAX_FAILURES)
    failures = table(
        [_failure(answer) for answer in shown],
        columns=("skill", "prompt", "right answer", "reply"),
        caption=f"{len(wrong)} wrong answers, {len(shown)} shown",
    )
    return scores + failures


def checkup_figure(checkup: Checkup) -> Plot:
    """Draw accuracy by skill, with the groups of each skill below it, and 95 % intervals."""
    rows: list[tuple[Score, bool]] = []
    for skill in checkup.skills:
        groups = checkup.groups(skill.name)
        rows += [(skill, True), *((group, False) for group in groups if len(groups) > 1)]
    with new_figure(7.2, 0.9 + 0.24 * len(rows)) as (figure, axes):
        for place, (score, is_skill) in enumerate(rows):
            low, high = score.interval
            colour = OKABE_ITO["blue"] if is_skill else OKABE_ITO["sky"]
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2.2, zorder=2)
            axes.plot(
                100 * score.accuracy,
                place,
                "o" if is_skill else "D",
                color=colour,
                markersize=7 if is_skill else 4.5,
            )
            if score.chance is not None:
                axes.plot(
                    [100 * score.chance] * 2,
                    [place - 0.35, place + 0.35],
                    color=OKABE_ITO["grey"],
                    linewidth=1.4,
                )
            axes.annotate(
                f"{score.right}/{score.asked}", (1.01, place), xycoords=("axes fraction", "data"),
                va="center", fontsize=8.5,
            )  # fmt: skip
        axes.set_yticks(
            range(len(rows)), [name.name if is_skill else f"  {name.name}" for name, is_skill in rows]
        )
        for label, (_, is_skill) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if is_skill else "normal")
        axes.set_xlim(-2, 102)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("accuracy, % (bars: 95 % interval; grey strokes: chance)")
        axes.set_title(f"Check-up of {checkup.model}")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
    scores = ", ".join(f"{score.name} {score.accuracy:.0%}" for score in checkup.skills)
    return Plot(figure, text=f"Check-up of {checkup.model}: {scores}.")


def spread(wrong: list[GradedAnswer], count: int) -> list[GradedAnswer]:
    """Return about `count` failures, at least one of every skill."""
    skills = list(dict.fromkeys(answer.question.skill for answer in wrong))
    per_skill = max(1, count // max(1, len(skills)))
    return [a for skill in skills for a in [w for w in wrong if w.question.skill == skill][:per_skill]]


def _failure(answer: GradedAnswer) -> tuple[object, ...]:
    question = answer.question
    images = [_image(png, f"image {number}") for number, png in enumerate(question.images, 1)]
    images += [_image(png, f"frame at {n / question.fps:.1f} s") for n, png in enumerate(question.frames)]
    sound = question.audio  # decoded at every access
    if sound is not None:
        images.append(escape(f"(a sound of {sound.seconds:.1f} s)"))
    prompt = join([*images, bdi(cut(question.prompt))], " ")
    return question.skill, prompt, bdi(question.wanted), bdi(cut(answer.reply))


def _image(png: bytes, label: str) -> Markup:
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return tag("img", alt=label, title=label, height=48, src=address)


def cut(text: str) -> str:
    """Leave out the middle of a long text: a question is at the end of its prompt."""
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH // 2]} … {text[-_MAX_LENGTH // 2 :]}"
