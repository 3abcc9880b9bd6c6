"""Figures of plans: memory bars, speed over depth, cost and its break-even, errors of the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import LabError
from ...planning.cost import Ownership, break_even_tokens, monthly_cost
from ...planning.evidence import measured_runs
from ...planning.prices import hosted_price
from ...units import gib, tokens
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from .text import short

if TYPE_CHECKING:
    from ...planning.measurement import SpeedReport
    from ...planning.plans import Plan

PART_COLORS = {
    "embedding": "#8FBCDD",
    "head": "#8FBCDD",
    "ple_table": OKABE_ITO["yellow"],
    "attention": OKABE_ITO["blue"],
    "dense": OKABE_ITO["green"],
    "experts": OKABE_ITO["vermillion"],
    "other": "#9A9A9A",
    "towers": OKABE_ITO["purple"],
    "drafter": "#7A5195",
    "cache_global": OKABE_ITO["orange"],
    "cache_local": "#F3C969",
    "cache_linear": "#F3C969",
    "activations": "#B7B7B7",
    "overhead": "#D9D9D9",
}
"""Colour of each part of memory, the same in every figure and in the widget."""

_LINES = ("blue", "vermillion", "green", "purple", "orange", "sky")


def plan_memory_figure(plan: Plan | Sequence[Plan]) -> Plot:
    """Draw the memory of plans as stacked bars against what each device leaves free."""
    plans = [plan] if not isinstance(plan, Sequence) else list(plan)
    shown: dict[str, str] = {}
    with new_figure(9.5, 1.7 + 0.55 * len(plans)) as (figure, axes):
        for row, each in enumerate(plans):
            left = 0.0
            for part in each.parts:
                if part.place != "device":
                    continue
                size = part.bytes / 2**30
                new = part.label not in shown
                shown[part.label] = part.key
                axes.barh(
                    row,
                    size,
                    left=left,
                    height=0.6,
                    color=PART_COLORS[part.key],
                    label=part.label if new else None,
                    edgecolor="white",
                    lw=0.6,
                )
                left += size
            usable = each.usable_bytes
            if usable is not None:
                axes.plot([usable / 2**30] * 2, [row - 0.42, row + 0.42], color=INK, lw=2)
            mark = {True: "fits", False: "does not fit", None: ""}[each.fits]
            beside = max(left, (usable or 0.0) / 2**30)
            axes.text(beside, row, f"  {gib(round(each.needed_bytes))} {mark}", va="center", fontsize=9)
        axes.set_yticks(range(len(plans)), [_name(each) for each in plans])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        longest = max(max(each.needed_bytes, each.usable_bytes or 0.0) for each in plans) / 2**30
        axes.set(xlim=(0, longest * 1.28), xlabel="GiB (2³⁰ bytes); black line: what the device leaves free")
        figure.legend(loc="outside lower center", ncols=4, fontsize=8.5)
        hide_frame(axes, keep="bottom")
    sums = "; ".join(
        f"{_name(each)} {gib(round(each.needed_bytes))}, {'fits' if each.fits else 'does not fit'}"
        for each in plans
    )
    return Plot(figure, text=f"Memory by part: {sums}")


def plan_speed_figure(plan: Plan | Sequence[Plan]) -> Plot:
    """Draw tokens/s over depth with 80 % intervals, and measured runs of the same model and hardware."""
    plans = [plan] if not isinstance(plan, Sequence) else list(plan)
    with new_figure(8.5, 4.2) as (figure, axes):
        for each, name in zip(plans, _LINES, strict=False):
            depths = [(max(depth, 256), estimate) for depth, estimate in each.depths()]
            if not depths:
                continue
            color = OKABE_ITO[name]
            across = [depth for depth, _ in depths]
            axes.plot(across, [e.value for _, e in depths], color=color, lw=1.8, label=_name(each))
            axes.fill_between(
                across, [e.low for _, e in depths], [e.high for _, e in depths], color=color, alpha=0.15, lw=0
            )
            dots = [
                run
                for run in measured_runs()
                if run.use == "fit" and run.model == each.shape.key and run.hardware == each.hardware.label
            ]
            axes.plot(
                [max(run.depth, 256) for run in dots],
                [run.tokens_per_second for run in dots],
                "o",
                color=color,
                ms=4,
                markeredgecolor="white",
            )
        axes.set_xscale("log", base=2)
        ticks = [256 * 4**step for step in range(6)]
        axes.set_xticks(ticks, [tokens(tick) if tick >= 1024 else str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="tokens in the cache (1K = 1,024)", ylabel="tokens/s", ylim=(0, None))
        axes.grid(axis="y", color=FAINT, lw=0.7)
        axes.legend(loc="lower left", fontsize=9)
        hide_frame(axes, keep="left bottom")
    ends = "; ".join(f"{_name(each)} {short(each.decode.value)} tokens/s" for each in plans if each.decode)
    return Plot(figure, text=f"Tokens/s over depth with 80 % intervals; dots are measured runs: {ends}")


def speed_report_figure(report: SpeedReport) -> Plot:
    """Draw measured tokens/s over depth against the plan for this machine, with its 80 % interval."""
    points = report.points
    depths = [point.depth for point in points]
    with new_figure(7.5, 3.8) as (figure, axes):
        predicted = [(depth, each) for depth in depths if (each := report.plan.decode_at(depth)) is not None]
        if predicted:
            across = [depth for depth, _ in predicted]
            axes.plot(across, [each.value for _, each in predicted], color=OKABE_ITO["blue"], label="plan")
            axes.fill_between(
                across,
                [each.low for _, each in predicted],
                [each.high for _, each in predicted],
                color=OKABE_ITO["blue"],
                alpha=0.15,
                lw=0,
            )
        values = [point.tokens_per_second for point in points]
        spread = [
            [point.tokens_per_second - point.slowest for point in points],
            [point.fastest - point.tokens_per_second for point in points],
        ]
        axes.errorbar(
            depths, values, yerr=spread, fmt="o", color=OKABE_ITO["vermillion"], capsize=3, label="measured"
        )
        axes.set(xlabel="tokens in the cache", ylabel="tokens/s", ylim=(0, None))
        axes.grid(axis="y", color=FAINT, lw=0.7)
        axes.legend(loc="best", fontsize=9)
        hide_frame(axes, keep="left bottom")
    shown = "; ".join(f"{depth:,}: {short(value)}" for depth, value in zip(depths, values, strict=True))
    return Plot(figure, text=f"Measured tokens/s of {report.name} by depth: {shown}")


def break_even_figure(
    plan: Plan,
    *,
    hosted: Sequence[str] = ("gemma-4-31B", "claude-haiku-5.5", "gpt-4o-mini"),
    owned: Ownership | None = None,
    prompt_per_answer: float = 4.0,
    on: str | None = None,
) -> Plot:
    """Draw US dollars of a month over the tokens of answers: owned hardware against hosted models.

    Parameters
    ----------
    plan
        The model on its hardware.
    hosted
        Hosted models.
    owned
        What owning costs. Default: see `Plan.ownership`.
    prompt_per_answer
        Tokens of prompts for each token of an answer.
    on
        Day of the prices, ISO. Default: today.
    """
    ownership = plan.ownership(owned)
    speed = plan.throughput
    if ownership is None or speed is None:
        raise LabError(
            f"The price, the power or the bandwidth of {plan.hardware.name} is unknown.",
            hint="Give owned=gl.Ownership(price_usd=…, power_w=…).",
        )
    prompt = plan.prompt.value if plan.prompt else None
    crossings = []
    with new_figure(8.5, 4.2) as (figure, axes):
        amounts = [1e5 * 10 ** (step / 8) for step in range(41)]
        own = [
            (
                amount,
                monthly_cost(
                    amount, ratio_in=prompt_per_answer, owned=ownership, prompt=prompt, answer=speed.value
                ),
            )
            for amount in amounts
        ]
        inside = [(amount, cost) for amount, cost in own if cost is not None]
        axes.plot(*zip(*inside, strict=True), color=INK, lw=2.4, label=f"owned {plan.hardware.label}")
        for name, color in zip(hosted, _LINES, strict=False):
            price = hosted_price(name, on=on)
            bills = [price.cost(amount * prompt_per_answer, amount) for amount in amounts]
            axes.plot(amounts, bills, color=OKABE_ITO[color], lw=1.6, label=price.label)
            cross = break_even_tokens(
                price, ratio_in=prompt_per_answer, owned=ownership, prompt=prompt, answer=speed.value
            )
            crossings.append(
                f"{price.label} {'never' if cross is None else f'{cross / 1e6:,.0f} million tokens'}"
            )
            if cross is not None:
                axes.plot(
                    [cross], [price.cost(cross * prompt_per_answer, cross)], "o", color=OKABE_ITO[color], ms=7
                )
        axes.set(
            xscale="log", yscale="log", xlabel="tokens of answers in a month", ylabel="US dollars in a month"
        )
        axes.grid(color=FAINT, lw=0.7)
        axes.legend(loc="upper left", fontsize=9)
        hide_frame(axes, keep="left bottom")
    return Plot(
        figure,
        text=f"Monthly cost, {prompt_per_answer:g} prompt tokens for each of an answer; owned "
        f"{plan.hardware.label} is cheaper from: {'; '.join(crossings)}",
    )


def _name(plan: Plan) -> str:
    return f"{plan.shape.key} {plan.weights.name}\n{plan.hardware.label}, {tokens(plan.setting.context)}"
