"""Plans, costs and licences as aligned lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...units import gib, tokens

if TYPE_CHECKING:
    from ...planning.cost import Costs
    from ...planning.estimates import Estimate
    from ...planning.licensing import Licences
    from ...planning.measurement import SpeedReport
    from ...planning.plans import Plan


def plan_text(plan: Plan) -> str:
    """Return a plan as lines of plain text: what fits, memory by part, speed, advice."""
    lines = [headline(plan), ""]
    lines += aligned([(part.label, gib(round(part.bytes)), where(part.place)) for part in plan.parts], "lrl")
    lines += ["", *aligned(list(facts(plan)), "ll")]
    if plan.advice:
        lines += ["", *(f"! {line}" for line in plan.advice)]
    lines += ["", *aligned(nearest_rows(plan), "lrl")]
    return "\n".join(lines)


def plans_text(plans: Sequence[Plan]) -> str:
    """Return several plans side by side as lines of plain text."""
    head = ("model", "on the device", "fits", "longest context", "tokens/s", "80 % interval", "first token")
    return "\n".join([shared_headline(plans), "", *aligned([head, *comparison(plans)], "lrlrrrr")])


def shared_headline(plans: Sequence[Plan]) -> str:
    """Return what several plans share, in one line."""
    first = plans[0]
    context = tokens(max(plan.setting.context for plan in plans))
    machine = f"{first.hardware.label} with {first.runtime.name}"
    return f"{first.weights.name} on {machine}, {context} tokens of context"


def comparison(plans: Sequence[Plan]) -> list[tuple[str, ...]]:
    """Return one row of cells per plan: memory, fit, longest context, speed, first token."""
    rows: list[tuple[str, ...]] = []
    for plan in plans:
        fit = {True: "yes", False: "no", None: "unknown"}[plan.fits]
        longest = "unknown" if plan.longest_context is None else tokens(plan.longest_context)
        speed, first = plan.decode, plan.first_token
        rows.append(
            (
                plan.shape.key,
                gib(round(plan.needed_bytes)),
                fit,
                longest if plan.longest_context != 0 else "none",
                "unknown" if speed is None else short(speed.value),
                "" if speed is None else f"{short(speed.low)} to {short(speed.high)}",
                "unknown" if first is None else f"{short(first.value)} s",
            )
        )
    return rows


def headline(plan: Plan) -> str:
    """Return what is planned, in one line."""
    batch = f", {plan.setting.batch} sequences" if plan.setting.batch > 1 else ""
    return (
        f"{plan.shape.name}, {plan.weights.name}, on {plan.hardware.label} with {plan.runtime.name}, "
        f"{tokens(plan.setting.context)} tokens of context{batch}"
    )


def facts(plan: Plan) -> list[tuple[str, str]]:
    """Return the results of a plan as pairs of name and value."""
    usable = plan.usable_bytes
    state = {True: "yes", False: "no", None: "unknown (memory not given)"}[plan.fits]
    of = "" if usable is None else f" of {gib(round(usable))} that the device leaves free"
    rows = [("fits", f"{state}: {gib(round(plan.needed_bytes))}{of}")]
    if plan.host_bytes and not plan.hardware.unified:
        rows.append(("in main memory", gib(round(plan.host_bytes))))
    if plan.longest_context is not None:
        rows.append(("longest context", tokens(plan.longest_context) if plan.longest_context else "none"))
        rows.append(("largest batch", f"{plan.largest_batch:,}" if plan.largest_batch else "none"))
    if plan.expert_cache is not None:
        cache = plan.expert_cache
        rows.append(("expert cache", f"hit rate {cache.hit_rate:.1%}: {cache.source}"))
    if plan.decode is not None:
        spilled = ", with the rest in main memory" if plan.spilled else ""
        rows.append((f"answer, at {tokens(plan.depth)} tokens", f"{interval(plan.decode)}{spilled}"))
        rows.append(("same, at full context", interval(plan.decode_at(plan.setting.context))))
        if plan.setting.batch > 1:
            rows.append(("all sequences", interval(plan.throughput)))
        rows.append(("no run can exceed", f"{plan.bound:.0f} tokens/s without a drafter"))
    if plan.first_token is not None:
        rows.append((f"first token, prompt of {plan.prompt_tokens:,}", interval(plan.first_token)))
    return rows


def interval(estimate: Estimate | None) -> str:
    """Return an estimate with its 80 % interval: ``"99 tokens/s (82 to 119)"``."""
    if estimate is None:
        return "unknown"
    return f"{short(estimate.value)} {estimate.unit} ({short(estimate.low)} to {short(estimate.high)})"


def short(value: float) -> str:
    """Return a number with three significant digits and no exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def where(place: str) -> str:
    """Return the place of a part in words."""
    return "" if place == "device" else "main memory"


def nearest_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """Return the measured runs nearest to a plan as cells."""
    return [
        (
            "nearest measured run" if number == 0 else "",
            f"{short(run.tokens_per_second)} tokens/s",
            f"{run.label}; {run.source}",
        )
        for number, run in enumerate(plan.nearest)
    ]


def costs_text(costs: Costs) -> str:
    """Return costs as lines of plain text."""
    rows = [("US dollars for a million tokens", "prompt", "answer", "80 % interval", "valid until")]
    rows += [cost_row(cost) for cost in costs]
    return "\n".join([*aligned(rows, "lrrrl"), *(f"! {note}" for note in costs.notes)])


def cost_row(cost: object) -> tuple[str, str, str, str, str]:
    """Return the cells of one cost."""
    from ...planning.cost import TokenCost

    assert isinstance(cost, TokenCost)
    low, high = money(cost.low_out), money(cost.high_out)
    prompt = "unknown" if cost.usd_per_m_in is None else money(cost.usd_per_m_in)
    spread = "" if low == high else f"{low} to {high}"
    return (cost.label, prompt, money(cost.usd_per_m_out), spread, cost.valid_until)


def money(value: float) -> str:
    """Return US dollars with two or three significant digits."""
    return f"{value:.2f}" if value >= 0.995 or value == 0 else f"{value:.3f}"


def licences_text(licences: Licences) -> str:
    """Return the licences as lines of plain text, one block per licence."""
    blocks = []
    for licence in licences:
        head = f"{', '.join(licence.models)}: {licence.name} ({licence.url})"
        blocks.append(
            "\n".join([head, *(f"  {row}" for row in aligned(list(licence.answers.items()), "ll"))])
        )
    return "\n\n".join(blocks)


def aligned(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Return rows as lines with columns of equal width; `sides` has an l or r for every column."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]


def speed_text(report: SpeedReport) -> str:
    """Return measured speed beside its prediction as lines of plain text."""
    machine = report.plan.hardware
    head = (
        f"{report.name}, {report.plan.weights.name}, {report.runtime} {report.version} on {machine.label}: "
        f"{machine.bandwidth_gb_s or 0:.1f} GB/s and {(machine.tensor_tflops or 0) * 1e3:.0f} GFLOP/s, "
        "both measured"
    )
    return "\n".join([head, "", *aligned([SPEED_COLUMNS, *speed_rows(report)], "rrrrr")])


SPEED_COLUMNS = ("depth", "tokens/s", "slowest to fastest", "plan, 80 % interval", "prompt tokens/s")


def speed_rows(report: SpeedReport) -> list[tuple[str, ...]]:
    """Return the cells of each measured depth."""
    return [
        (
            f"{point.depth:,}",
            short(point.tokens_per_second),
            f"{short(point.slowest)} to {short(point.fastest)}",
            interval(report.plan.decode_at(point.depth)),
            "" if point.prompt_tokens_per_second is None else short(point.prompt_tokens_per_second),
        )
        for point in report.points
    ]
