"""A check-up as text, as tables with what went wrong, and as a figure."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, table

if TYPE_CHECKING:
    from ...evals.report import Checkup, GradedAnswer, Score

_SHOWN = 12  # failures in the HTML view
_LONGEST = 160  # characters of a prompt or an answer in a table
_COLUMNS = ("skill", "asked", "right", "95 % interval", "chance")


def checkup_text(checkup: Checkup) -> str:
    """Return the scores as aligned lines."""
    rows = [_COLUMNS, *(_row(score) for score in checkup.skills)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"check-up of {checkup.model}"]
    lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines += [f"{skill}: not asked, {why}" for skill, why in checkup.not_asked.items()]
    return "\n".join(lines)


def checkup_html(checkup: Checkup) -> Markup:
    """Return the scores as a table, and the first wrong answers with their pictures as another."""
    scores = table(
        [_row(score) for score in checkup.skills],
        columns=_COLUMNS,
        caption=f"Check-up of {checkup.model}",
        align="lrrrr",
        notes=[f"{skill}: not asked, {why}" for skill, why in checkup.not_asked.items()],
    )
    wrong = checkup.failures
    if not wrong:
        return scores
    shown = spread(wrong, _SHOWN)
    failures = table(
        [_failure(answer) for answer in shown],
        columns=("skill", "asked", "right answer", "said"),
        caption=f"{len(wrong)} wrong, {len(shown)} shown",
    )
    return Markup(scores + failures)


def checkup_figure(checkup: Checkup) -> Plot:
    """Return accuracy by skill, with each skill's groups below it, and 95 % intervals."""
    rows: list[tuple[Score, bool]] = []
    for skill in checkup.skills:
        groups = checkup.groups(skill.name)
        rows += [(skill, True), *((group, False) for group in groups if len(groups) > 1)]
    with new_figure(7.2, 0.9 + 0.24 * len(rows)) as (figure, axes):
        for place, (score, whole) in enumerate(rows):
            low, high = score.interval
            colour = OKABE_ITO["blue"] if whole else OKABE_ITO["sky"]
            axes.plot([100 * low, 100 * high], [place, place], color=colour, linewidth=2.2, zorder=2)
            axes.plot(
                100 * score.accuracy,
                place,
                "o" if whole else "D",
                color=colour,
                markersize=7 if whole else 4.5,
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
        axes.set_yticks(range(len(rows)), [name.name if whole else f"  {name.name}" for name, whole in rows])
        for label, (_, whole) in zip(axes.get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if whole else "normal")
        axes.set_xlim(-2, 102)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("right answers, % (bars: 95 % interval; grey strokes: guessing)")
        axes.set_title(f"Check-up of {checkup.model}")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
    scores = ", ".join(f"{score.name} {score.accuracy:.0%}" for score in checkup.skills)
    return Plot(figure, text=f"Check-up of {checkup.model}: {scores}.")


def _row(score: Score) -> tuple[str, ...]:
    low, high = score.interval
    chance = "" if score.chance is None else f"{score.chance:.1%}"
    return score.name, f"{score.asked}", f"{score.accuracy:.1%}", f"{low:.1%} to {high:.1%}", chance


def spread(wrong: list[GradedAnswer], most: int) -> list[GradedAnswer]:
    """Return about `most` failures, at least one of every skill, rather than many of the first."""
    skills = list(dict.fromkeys(answer.question.skill for answer in wrong))
    each = max(1, most // max(1, len(skills)))
    return [a for skill in skills for a in [w for w in wrong if w.question.skill == skill][:each]]


def _failure(answer: GradedAnswer) -> tuple[object, ...]:
    question = answer.question
    asked = bdi(cut(question.prompt))
    shown = [_picture(png, f"picture {place}") for place, png in enumerate(question.images, 1)]
    shown += [
        _picture(png, f"frame at {place / question.fps:.1f} s") for place, png in enumerate(question.frames)
    ]
    sound = question.audio  # decoded each time that it is asked for
    if sound is not None:
        shown.append(Markup(f"(a sound of {sound.seconds:.1f} s)"))
    asked = Markup(" ".join([*shown, asked]))
    return question.skill, asked, bdi(question.wanted), bdi(cut(answer.said))


def _picture(png: bytes, said: str) -> Markup:
    address = base64.b64encode(png).decode()
    return Markup(f'<img alt="{said}" title="{said}" height="48" src="data:image/png;base64,{address}">')


def cut(text: str) -> str:
    """Return text with its middle left out when it is long: a question stands at the end of its text."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
