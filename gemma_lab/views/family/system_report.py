"""The report of `doctor`, as text for a terminal and as tables for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...units import gib, tokens
from ..base.html import Markup, definitions, footnotes, table, tag

if TYPE_CHECKING:
    from ...system.report import Fit, Report

_NOTE = (
    "Longest context that fits into the free memory of {device}; in brackets what is needed for 8K tokens: "
    "weights, cache, activations and the runtime. bf16 is for load(), Q8_0 and Q4_0 are for llama.cpp. "
    "gl.plan() has every part."
)


def report_text(report: Report) -> str:
    """Return the report as aligned lines of plain text."""
    facts = _facts(report)
    width = max(len(name) for name, _ in facts)
    lines = [f"{name:<{width}}  {value}" for name, value in facts]
    rows = [("model", *_dtypes(report)), *(_row(fit) for fit in report.fits)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines += ["", *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    lines += ["", _NOTE.format(device=report.best.name)]
    lines += [f"! {advice}" for advice in report.advice]
    return "\n".join(lines)


def report_html(report: Report) -> Markup:
    """Return the report as a list of facts and a table of what fits."""
    columns = ("model", *_dtypes(report))
    fits = table(
        [_row(fit) for fit in report.fits],
        columns=columns,
        caption="What fits on this machine",
        align="l" + "r" * (len(columns) - 1),
        notes=[_NOTE.format(device=report.best.name)],
    )
    advice = footnotes([f"! {line}" for line in report.advice])
    return tag("div", definitions(_facts(report), caption="This machine"), advice, fits)


def _facts(report: Report) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in report.versions.items())
    facts = [
        ("where", f"{report.where}, {report.system}, Python {report.python}"),
        ("libraries", versions),
    ]
    for device in report.devices:
        native = ", bfloat16" if device.bfloat16 else ""
        facts.append((device.name, f"{device.label}, {gib(device.free)} of {gib(device.total)} free{native}"))
    facts += [
        ("dtype", report.dtype),
        ("disk", f"{gib(report.free['disk'])} free for downloads"),
        ("downloads", "off (offline)" if report.offline else "only for a hub model that you name"),
        ("HF_TOKEN", "set" if report.token else "not set (Gemma 4 needs none)"),
    ]
    return facts


def _dtypes(report: Report) -> tuple[str, ...]:
    return tuple(dict.fromkeys(dtype for fit in report.fits for dtype in fit.needs))


def _row(fit: Fit) -> tuple[str, ...]:
    return (fit.name, *(f"{_context(fit.context[dtype])} ({gib(need)})" for dtype, need in fit.needs.items()))


def _context(length: int) -> str:
    return tokens(length) if length else "no"
