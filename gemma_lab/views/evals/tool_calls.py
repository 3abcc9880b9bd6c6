"""Accuracy of tool calls and JSON with and without a grammar, as a table and as a figure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, table
from ..base.text import shorten, visible

if TYPE_CHECKING:
    from ...evals.tool_calls import ToolCallAccuracy

_NAMES = {False: "without grammar", True: "with grammar"}
_COLORS = {False: OKABE_ITO["orange"], True: OKABE_ITO["blue"]}


def tool_call_accuracy_html(data: ToolCallAccuracy) -> Markup:
    """Return a table with one row per kind of case and, for each condition, accuracy and 95 % interval.

    Parameters
    ----------
    data
        From `gemma_lab.evals.tool_call_accuracy`.
    """
    scores = [{score.name: score for score in data.scores(grammar=grammar)} for grammar in data.conditions]
    rows = []
    for kind in dict.fromkeys(name for each in scores for name in each):
        cells = [kind]
        for each in scores:
            score = each.get(kind)
            if score is None:
                cells += ["", "", ""]
                continue
            low, high = score.interval
            cells += [f"{score.right} of {score.asked}", f"{score.accuracy:.0%}", f"{low:.0%} to {high:.0%}"]
        rows.append(cells)
    columns = ["kind"]
    for grammar in data.conditions:
        columns += [f"right {_NAMES[grammar]}", "accuracy", "95 % interval"]
    return table(
        rows,
        columns=columns,
        align="l" + "rrr" * len(data.conditions),
        caption=f"Tool calls and JSON of {visible(data.model)}",
        notes=_notes(data),
    )


def _notes(data: ToolCallAccuracy) -> list[str]:
    notes = []
    for grammar in data.conditions:
        answers = [answer for answer in data.answers if answer.grammar == grammar]
        faults = Counter(answer.fault for answer in answers if answer.fault).most_common()
        listed = ", ".join(f"{count} × {fault}" for fault, count in faults) or "none"
        valid = sum(answer.valid for answer in answers)
        notes.append(f"{_NAMES[grammar]}: {valid} of {len(answers)} fit their schema; wrong: {listed}.")
    if data.conditions == (False, True):
        summary = data.summary()
        notes.append(f"{summary[0].upper()}{summary[1:]}.")
    notes += [f"Not asked: {visible(shorten(case, 80))}, {why}" for case, why in data.not_asked.items()]
    return notes


def tool_call_accuracy_figure(data: ToolCallAccuracy) -> Plot:
    """Draw accuracy by kind of case with 95 % intervals, without and with a grammar.

    Parameters
    ----------
    data
        From `gemma_lab.evals.tool_call_accuracy`.
    """
    scores = {grammar: data.scores(grammar=grammar) for grammar in data.conditions}
    kinds = list(dict.fromkeys(score.name for each in scores.values() for score in each))
    with new_figure(6.5, 1.2 + 0.45 * len(kinds)) as (figure, axes):
        for grammar, each in scores.items():
            rows = [kinds.index(score.name) + (0.14 if grammar else -0.14) for score in each]
            means = [100 * score.accuracy for score in each]
            bounds = [[100 * bound for bound in score.interval] for score in each]
            low = [max(0.0, mean - bound[0]) for mean, bound in zip(means, bounds, strict=True)]
            high = [max(0.0, bound[1] - mean) for mean, bound in zip(means, bounds, strict=True)]
            style = {"fmt": "o" if grammar else "D", "color": _COLORS[grammar], "label": _NAMES[grammar]}
            axes.errorbar(means, rows, xerr=[low, high], **style)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set(xlim=(-2, 102), ylim=(len(kinds) - 0.4, -0.6), xlabel="accuracy, % (bars: 95 % interval)")
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_title(f"Tool calls and JSON of {data.model}", parse_math=False)
        if scores:
            axes.legend(frameon=False, loc="lower left")
        hide_frame(axes, keep="bottom")
    return Plot(figure, text=visible(repr(data)))
