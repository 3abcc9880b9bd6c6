"""Plans, costs and licences as script-free tables for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...units import gib
from ..base.html import Markup, definitions, escape, footnotes, link, table
from .text import (
    SPEED_COLUMNS,
    comparison,
    cost_row,
    facts,
    headline,
    shared_headline,
    short,
    speed_rows,
    speed_text,
    where,
)

if TYPE_CHECKING:
    from ...planning.cost import Costs
    from ...planning.licensing import Licences
    from ...planning.measurement import SpeedReport
    from ...planning.plans import Plan


def plan_html(plan: Plan) -> Markup:
    """Return a plan: results, memory by part with formulas, advice, nearest measured runs."""
    results = definitions(facts(plan), caption=headline(plan))
    advice = footnotes([f"! {line}" for line in plan.advice])
    return Markup(f"<div>{results}{advice}{memory_html(plan)}{_speed(plan)}{_nearest(plan)}</div>")


def plans_html(plans: Sequence[Plan]) -> Markup:
    """Return several plans side by side: memory, fit, speed."""
    note = plans[0].decode.source if plans[0].decode else ""
    columns = (
        "model",
        "on the device",
        "fits",
        "longest context",
        "tokens/s",
        "80 % interval",
        "first token",
    )
    return table(
        comparison(plans), columns=columns, caption=shared_headline(plans), align="lrlrrrr", notes=[note]
    )


def memory_html(plan: Plan) -> Markup:
    """Return the memory of a plan by part."""
    rows = [
        (part.label, gib(round(part.bytes)), where(part.place) or "device", part.formula, part.source)
        for part in plan.parts
    ]
    rows.append(("all on the device", gib(round(plan.needed_bytes)), "device", "sum", ""))
    return table(
        rows, columns=("part", "size", "where", "formula", "source"), caption="Memory", align="lrlll"
    )


def costs_html(costs: Costs) -> Markup:
    """Return costs as a table, US dollars for a million tokens."""
    rows = [(*cost_row(cost), cost.formula, cost.source) for cost in costs]
    columns = ("how", "prompt", "answer", "80 % interval", "valid until", "formula", "source")
    caption = "US dollars for a million tokens"
    return table(rows, columns=columns, caption=caption, align="lrrrlll", notes=costs.notes)


def speed_html(report: SpeedReport) -> Markup:
    """Return measured speed beside its prediction as a table."""
    lines = speed_text(report).splitlines()
    return table(speed_rows(report), columns=SPEED_COLUMNS, caption=lines[0], align="rrrrr")


def licences_html(licences: Licences) -> Markup:
    """Return the licences side by side, one question in a row."""
    questions = list(licences[0].answers)
    rows = [(question, *(licence.answers[question] for licence in licences)) for question in questions]
    rows.append(("text", *(link(licence.url, licence.name) for licence in licences)))
    rows.append(("source", *(licence.source for licence in licences)))
    columns = ("question", *(", ".join(licence.models) for licence in licences))
    note = f"Looked up {licences[0].checked}. A summary, not legal advice; the licences themselves decide."
    return table(rows, columns=columns, caption="Licences", notes=[note])


def _speed(plan: Plan) -> Markup:
    rows = [
        (f"{depth:,}", short(each.value), f"{short(each.low)} to {short(each.high)}", each.formula)
        for depth, each in plan.depths()
    ]
    if not rows:
        return Markup("")
    source = plan.decode.source if plan.decode else ""
    columns = ("tokens in the cache", "tokens/s", "80 % interval", "formula")
    return table(rows, columns=columns, caption="Answer, one sequence", align="rrrl", notes=[source])


def _nearest(plan: Plan) -> Markup:
    rows = [(run.label, short(run.tokens_per_second), link(run.source, run.source)) for run in plan.nearest]
    return table(
        rows, columns=("run", "tokens/s", "source"), caption=escape("Nearest measured runs"), align="lrl"
    )
