"""Designs and results of ablation studies: text and tables with the design first, and figures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, definitions, group, table
from ..base.text import visible
from .ablation import add_legend, draw_row

if TYPE_CHECKING:
    from ...evals.ablation.design import StudyDesign
    from ...evals.ablation.study_result import StudyResult
    from ..base.html import Markup

#: Colour and marker by verdict.
_MARKS = {
    "confirmed": ("vermillion", "D"),
    "failed its control": ("grey", "X"),
    "inconclusive": ("yellow", "o"),
    "detected": ("green", "^"),
    "not detected": ("grey", "v"),
}
_WIDTH = 100
_COLUMNS = (
    "claim", "ablated", "effect, nats", "random sets", "beyond them (95 %)", "questions harmed",
    "right answers (random)", "p", "p corrected", "verdict",
)  # fmt: skip


def design_text(design: StudyDesign) -> str:
    """Return a design as aligned lines of plain text."""
    width = max(len(term) for term, _ in design.rows)
    lines = [f"design {design.fingerprint} of {visible(design.model)}, {design.kind}"]
    for term, text in design.rows:
        parts = textwrap.wrap(visible(text), _WIDTH - width - 2) or [""]
        lines += [f"{term if at == 0 else '':{width}}  {part}" for at, part in enumerate(parts)]
    return "\n".join(lines)


def design_html(design: StudyDesign) -> Markup:
    """Return a design as a list of terms."""
    return definitions(design.rows, caption=f"Design {design.fingerprint} of {design.model}, {design.kind}")


def result_text(result: StudyResult) -> str:
    """Return a result as plain text: the design, then a line per claim and control."""
    rows = [("", "effect", "random sets", "beyond them (95 %)", "p", "corrected", "verdict")]
    rows += [(visible(row[0]), row[2], row[3], row[4], row[7], row[8], row[9]) for row in _rows(result)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    reasons = [f"{visible(one.claim)}: {one.verdict}: {one.reason}" for one in result.findings]
    return "\n".join([design_text(result.design), "", *lines, negative_line(result), "", *reasons])


def result_html(result: StudyResult) -> Markup:
    """Return a result as the design, and a table with a row per claim and control."""
    notes = [
        "Effect: log-probability lost per answer token. Beyond them: minus the mean of the random sets, with "
        "a 95 % bootstrap interval over questions. Questions harmed: that lose more than without 95 % of the "
        "random sets.",
        negative_line(result),
        *(f"{one.claim}: {one.reason}." for one in result.findings),
    ]
    found = table(
        _rows(result), columns=_COLUMNS, align="llrrrrrrrl", notes=notes,
        caption=f"Result on {sum(result.design.confirmation.values())} confirmation questions",
    )  # fmt: skip
    return group(f"Ablation study of {result.design.model}", design_html(result.design), found)


def negative_line(result: StudyResult) -> str:
    """Return the negative control in words."""
    values = result.negative_p
    if not len(values):
        return "negative control: no further random sets exist"
    alpha = result.design.alpha
    return (
        f"negative control: {int((values <= alpha).sum())} of {len(values)} random sets have p ≤ {alpha:g} "
        f"({alpha * len(values):.1f} expected), {int((values <= 0.05).sum())} have p ≤ 0.05 "
        f"({0.05 * len(values):.1f} expected); uniform with p = {result.uniformity:.2g}"
    )


def study_result_figure(data: StudyResult) -> Plot:
    """Draw every claim and control as a row: effect in standard deviations of its random sets, and verdict.

    Parameters
    ----------
    data
        From `gemma_lab.evals.AblationStudy.confirm`.
    """
    listed = [
        *zip(data.tests, data.verdicts, strict=True),
        *((one, data.control_verdict(one)) for one in data.positive_controls),
    ]
    with new_figure(8.4, 1.9 + 0.5 * len(listed)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, (one, verdict) in enumerate(listed):
            controls = one.control_effects - one.control_effects.mean()
            spread = float(controls.std(ddof=1)) if one.draws > 1 else 0.0
            unit = spread if spread > 1e-9 else 1.0
            note = f"{verdict}\n{one.effect:+.3f} nats, p = {one.p:.2g}"
            draw_row(axes, row, controls / unit, one.excess / unit, *_MARKS[verdict], note)
        axes.set_yticks(range(len(listed)), [f"{_short(one.claim)} ({one.count})" for one, _ in listed])
        axes.set(
            ylim=(len(listed) - 0.4, -0.6), title=f"{data.design.model}: {data.design.kind}, confirmation",
            xlabel="damage beyond matched random sets, in standard deviations of theirs",
        )  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        add_legend(figure, {verdict: _MARKS[verdict] for verdict in dict.fromkeys(v for _, v in listed)})
    text = "; ".join(f"{one.claim}: {verdict}, p = {one.p:.2g}" for one, verdict in listed)
    return Plot(figure, text=f"Ablation study of {data.design.model}: {text}")


def random_set_p_values_figure(data: StudyResult) -> Plot:
    """Draw the distribution of the p values of random sets, the negative control, beside the uniform one.

    Parameters
    ----------
    data
        From `gemma_lab.evals.AblationStudy.confirm`.
    """
    values = data.negative_p
    with new_figure(4.2, 3.4) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=OKABE_ITO["grey"], lw=1, ls="--", label="uniform")
        if len(values):
            steps = np.arange(1, len(values) + 1) / len(values)
            axes.step([0, *values], [0, *steps], where="post", color=OKABE_ITO["blue"], lw=1.6,
                      label=f"{len(values)} random sets")  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="p value", ylabel="fraction of the sets at or below it",
                 title="Negative control")  # fmt: skip
        axes.legend(loc="lower right", fontsize=9)
    return Plot(figure, text=negative_line(data))


def _rows(result: StudyResult) -> list[tuple[str, ...]]:
    findings: Sequence[Any] = [*result.findings, *(None for _ in result.positive_controls)]
    rows: list[tuple[str, ...]] = []
    verdicts = [*result.verdicts, *map(result.control_verdict, result.positive_controls)]
    for one, found, verdict in zip(
        (*result.tests, *result.positive_controls), findings, verdicts, strict=True
    ):
        low, high = one.excess_interval
        intact, ablated, others = one.accuracy
        rows.append((
            one.claim, f"{one.count} {one.kind}", f"{one.effect:+.3f}",
            f"{one.control_effects.mean():+.3f} ± {one.control_effects.std():.3f}",
            f"{one.excess:+.3f} ({_interval(low, high)})", "{} of {}".format(*one.harmed),
            f"{intact:.0%} → {ablated:.0%} ({others:.0%})", f"{one.p:.3g}",
            f"{found.p_adjusted:.3g}" if found else "", verdict,
        ))  # fmt: skip
    return rows


def _interval(low: float, high: float) -> str:
    return "one question" if np.isnan(low) else f"{low:+.3f} to {high:+.3f}"


def _short(claim: str) -> str:
    """Return a claim on up to two lines of a label."""
    return "\n".join(textwrap.wrap(claim, 36, max_lines=2, placeholder=" …"))
