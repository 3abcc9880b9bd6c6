"""A scan as one page: the answer, then each finding with its number, its null and the rows that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import TEXT, Markup, bdi, details, footnotes, group, heading, tag
from ..base.text import visible
from ..base.tokens import model_name, token_label
from ..trace.token_summary import token_summary_html

if TYPE_CHECKING:
    from ...evals.scan.knockout import Knockout
    from ...evals.scan.scan import Finding, Scan

#: Rows that a finding names.
_NAMED = 4
_CARD = "border-inline-start:4px solid rgba(127,127,127,.45);padding:.1em .8em;margin:.7em 0"
_NULL = "font-size:.9em;opacity:.8;margin:.15em 0"


def scan_html(scan: Scan) -> Markup:
    """Return a scan as one page: a card per finding, below them the tokens that the cards name.

    Parameters
    ----------
    scan
        From `gemma_lab.Lab.scan`.
    """
    answer, *others = scan.findings
    rows = sorted({row for one in others for row in one.tokens[:_NAMED]} | set(answer.tokens))
    return group(
        repr(scan),
        heading(bdi(visible(model_name(scan.trace))), ": scan of one prompt"),
        tag(
            "div",
            tag("div", bdi(visible(answer.result)), style=TEXT + ";font-size:1.15em;font-weight:600"),
            tag("div", answer.null, style=_NULL),
        ),
        *(_card(scan, one) for one in others),
        details("The tokens that the findings name, one by one", token_summary_html(scan.trace, tokens=rows)),
        footnotes(
            [
                "Small print is what chance or a control gives. gl.ScanExplorer(scan) shows the trace, "
                "in which each finding selects its tokens."
            ]
        ),
    )


def scan_text(scan: Scan) -> str:
    """Return a scan as lines of text: each finding, and below it its null."""
    lines = [repr(scan), ""]
    for one in scan.findings:
        lines.append(f"{one.title}: {visible(one.result)}")
        lines += [f"    {visible(one.null)}"] if one.null else []
    return "\n".join(lines)


def scan_figure(scan: Scan) -> Plot:
    """Draw the lens by layer beside its control, and the knock-outs beside random sets.

    Parameters
    ----------
    scan
        From `gemma_lab.Lab.scan`.
    """
    with new_figure(8.0, 3.0, ncols=2) as (figure, (left, right)):
        text = [_draw_depth(scan, left), _draw_knockouts(scan, right)]
        for axes in (left, right):
            hide_frame(axes, keep="left bottom" if axes is left else "bottom")
    return Plot(figure, text="; ".join(text))


def _card(scan: Scan, one: Finding) -> Markup:
    named = [row for row in one.tokens[:_NAMED] if 0 <= row < len(scan.trace)]
    where = ""
    if named:
        listed = [tag("span", bdi(token_label(scan.trace, row)), f" (token {row:,})") for row in named]
        where = tag("div", "See ", *[part for each in listed for part in (each, ", ")][:-1], style=_NULL)
    return tag(
        "section",
        tag("div", one.title, style="font-weight:600"),
        tag("div", bdi(visible(one.result)), style="" if one.tested else "opacity:.75"),
        tag("div", bdi(visible(one.null)), style=_NULL) if one.null else "",
        where,
        style=_CARD,
    )


def _draw_depth(scan: Scan, axes: Any) -> str:
    depth = scan.depth
    if depth is None:
        axes.text(0.5, 0.5, "no logit lens", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return "no logit lens"
    axes.plot(
        depth.layers, depth.share, marker="o", ms=4, color=OKABE_ITO["blue"], label="rows of the answer"
    )
    axes.plot(
        depth.layers, depth.control, marker="s", ms=3, ls="--", color=OKABE_ITO["orange"], label="other rows"
    )
    axes.set(
        xlabel="layer", ylabel="fraction of tokens", ylim=(-0.03, 1.03),
        title="Answer is first in the logit lens",
    )  # fmt: skip
    axes.legend(frameon=False, fontsize=8)
    return (
        f"The answer's tokens are first in {depth.share[0]:.0%} of the cases in layer {depth.layers[0]}, "
        f"{depth.share[len(depth.share) // 2]:.0%} in layer {depth.layers[len(depth.layers) // 2]}"
    )


def _draw_knockouts(scan: Scan, axes: Any) -> str:
    found: tuple[Knockout, ...] = scan.knockouts
    axes.axvline(0, color=FAINT, lw=1)
    for row, one in enumerate(found):
        spread = 0.28 * (np.arange(len(one.controls)) * 0.618 % 1 - 0.5)  # the same every time
        axes.plot(
            one.controls, row + spread, ls="", marker=".", ms=4, color=OKABE_ITO["sky"], alpha=0.6,
            label="random sets" if row == 0 else None,
        )  # fmt: skip
        axes.plot(
            one.effect, row, ls="", marker="D", ms=8, color=OKABE_ITO["vermillion"], mec=INK,
            label="the best" if row == 0 else None,
        )  # fmt: skip
    names = [f"{len(one.chosen)} {one.kind}\np = {one.adjusted:.2g}" for one in found]
    axes.set_yticks(range(len(found)), names)
    axes.set(
        ylim=(len(found) - 0.4, -0.6),
        xlabel="log-probability lost per answer token, nats",
        title="Knock-outs",
    )
    axes.tick_params(axis="y", length=0)
    if found:
        axes.legend(frameon=False, fontsize=8)
    return (
        "; ".join(
            f"without {len(one.chosen)} {one.kind} {one.effect:+.3f} nats (p = {one.adjusted:.2g})"
            for one in found
        )
        or "no knock-outs"
    )
