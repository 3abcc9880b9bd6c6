"""Two traces side by side, as script-free HTML and as a figure.

What changed is marked as ``<del>`` and ``<ins>``, struck through and underlined, never by colour alone.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import LabError
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, escape, footnotes, table
from ..chat.reply import percent, visible
from ..experts.load import layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...analysis.alignment import AlignedPair
    from ...analysis.comparison import Comparison, RoutingChange

#: Rows of the token table, and tokens of each answer; more are counted, not shown.
_MOST_ROWS, _MOST = 200, 2_000
_TEXT = "white-space:pre-wrap;unicode-bidi:isolate;overflow-wrap:anywhere;line-height:1.6;margin:.25em 0"
_MARKS = {
    "del": "text-decoration:line-through 2px #D55E00;background-color:rgba(213,94,0,.15)",
    "ins": "text-decoration:underline 2px #0072B2;background-color:rgba(86,180,233,.2)",
}
_CHANGES = {"same": "", "replaced": "replaced", "removed": "only in the first", "added": "only in the second"}
_NOTE_KL = (
    "KL ≥: divergence of the second distribution of the next token from the first, in nats, at least. Tokens "
    "whose probability was recorded on both sides are counted one by one, all others together as one; "
    "merging outcomes never increases a divergence. Resolved: the first's probability of those counted one "
    "by one."
)
_NOTE_CONTEXT = "Not the same context: the texts before differ, so it compares texts as well as models."
_NOTE_ROUTING = (
    "Means over the tokens that both prompts begin with. Experts in common: chosen by both ÷ chosen by "
    "either. Weight in common: Σ min of the two shares of each expert."
)


def comparison_html(comparison: Comparison) -> Markup:
    """Return a comparison as HTML: what was found, both answers, their tokens, and the routing by layer.

    Parameters
    ----------
    comparison
        What `gemma_lab.compare` returned.

    Returns
    -------
    Markup
    """
    names = " and ".join(comparison.names)
    found = "".join(f"<li>{escape(finding)}</li>" for finding in comparison.findings())
    answers = _answers(comparison) + _tokens(comparison) if comparison.pairs else ""
    routing = "" if comparison.routing is None else _layers(comparison.routing)
    return Markup(
        f'<div role="group" aria-label="Comparison of {escape(names)}" style="margin:.5em 0">'
        f'<div style="font-weight:600">{escape(names)}</div>'
        f'<ul style="margin:.25em 0">{found}</ul>{answers}{routing}</div>'
    )


def comparison_figure(comparison: Comparison) -> Plot:
    """Draw the divergence at each generated token, and what the routing of each layer has in common.

    Parameters
    ----------
    comparison
        What `gemma_lab.compare` returned.

    Raises
    ------
    LabError
        If neither generated anything and there is no routing to compare.
    """
    routing, drawn = comparison.routing, []
    drawn += ["answer"] if comparison.pairs else []
    drawn += ["routing"] if routing is not None else []
    if not drawn:
        raise LabError(
            f"There is nothing to draw: no generated tokens, and {comparison.note}.",
            hint="Trace with max_new_tokens=20, or a model with experts.",
        )
    with new_figure(5.2 * len(drawn), 3.4, ncols=len(drawn), squeeze=False) as (figure, axes):
        if comparison.pairs:
            _draw_answer(axes[0, 0], comparison)
        if routing is not None:
            _draw_routing(axes[0, -1], routing)
    return Plot(figure, text=f"{' and '.join(comparison.names)}: {'; '.join(comparison.findings())}")


def _answers(comparison: Comparison) -> str:
    sides: tuple[Literal["first", "second"], ...] = ("first", "second")
    blocks = "".join(
        '<div style="flex:1 1 16em;min-width:0">'
        f'<div style="font-size:.85em;opacity:.8">{escape(name)}</div>'
        f'<div dir="auto" style="{_TEXT}">{_answer(comparison.pairs, texts, side)}</div></div>'
        for name, texts, side in zip(comparison.names, comparison.texts, sides, strict=True)
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em">{blocks}</div>'


def _answer(pairs: tuple[AlignedPair, ...], texts: tuple[str, ...], side: Literal["first", "second"]) -> str:
    """Join a side's tokens, changed runs marked as a whole, so that joined letters stay joined."""
    placed = [(place, pair.change != "same") for pair in pairs if (place := getattr(pair, side)) is not None]
    tag = "del" if side == "first" else "ins"
    said = []
    for changed, run in groupby(placed[:_MOST], key=lambda item: item[1]):
        text = escape("".join(texts[place] for place, _ in run))
        said.append(f'<{tag} style="{_MARKS[tag]}">{text}</{tag}>' if changed and text else text)
    left = len(placed) - _MOST
    return "".join(said) + (f" <i>… {left:,} more tokens</i>" if left > 0 else "")


def _tokens(comparison: Comparison) -> str:
    rows = [_row(comparison, row) for row in range(min(len(comparison.pairs), _MOST_ROWS))]
    notes = [_NOTE_KL]
    notes += [] if comparison.same_context.all() else [_NOTE_CONTEXT]
    left = len(comparison.pairs) - len(rows)
    notes += [f"{left:,} more rows are not shown."] if left > 0 else []
    columns = ("#", "first", "probability", "second", "probability", "", "KL ≥", "resolved", "same context")
    tokens = table(rows, columns=columns, align="rlrlrlrrl", caption="Generated tokens", notes=notes)
    return f"<details><summary>Tokens one by one</summary>{tokens}</details>"


def _row(comparison: Comparison, row: int) -> tuple[object, ...]:
    pair = comparison.pairs[row]
    cells: list[object] = [row]
    for side, place in enumerate((pair.first, pair.second)):
        logprob = comparison.logprobs[row, side]
        cells.append("" if place is None else bdi(visible(comparison.labels[side][place])))
        cells.append("" if math.isnan(logprob) else percent(math.exp(logprob)))
    nats, resolved = comparison.kl[row], comparison.resolved[row]
    cells += [_CHANGES[pair.change]]
    cells += ["", "", ""] if math.isnan(nats) else [
        f"{nats:.3g}", percent(resolved), "yes" if comparison.same_context[row] else "no"
    ]  # fmt: skip
    return tuple(cells)


def _layers(change: RoutingChange) -> str:
    rows = [
        (layer, f"{experts:.2f}", f"{weight:.2f}", percent(changed) if changed else "none")
        for layer, experts, weight, changed in zip(
            change.layers, change.experts, change.weight, change.changed, strict=True
        )
    ]
    columns = ("layer", "experts in common", "weight in common", "tokens with other experts")
    layers = table(rows, columns=columns, align="rrrr", caption="Routing of the shared prompt tokens")
    notes = [_NOTE_ROUTING]
    if change.first is not None:
        layer, token = change.first
        notes.append(f"The first difference is in layer {layer}, at token {token}.")
    return f"<details><summary>Routing by layer</summary>{layers}{footnotes(notes)}</details>"


def _draw_answer(axes: Axes, comparison: Comparison) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = np.arange(len(comparison.pairs))
    same, kl = comparison.same_context, comparison.kl
    top = max(float(kl[np.isfinite(kl)].max(initial=0.0)), 1e-3) * 1.15
    kl = np.nan_to_num(kl, nan=0.0, posinf=2 * top)  # a divergence without end leaves at the top
    axes.bar(rows[same], kl[same], color=OKABE_ITO["blue"], width=0.8, label="same context")
    if not same.all():
        axes.bar(
            rows[~same], kl[~same], color="white", edgecolor=OKABE_ITO["grey"], hatch="////", width=0.8,
            label="other context",
        )  # fmt: skip
    changed = [row for row, pair in enumerate(comparison.pairs) if pair.change != "same"]
    if changed:
        axes.plot(
            changed, np.full(len(changed), -0.035 * top), ls="", marker="^", ms=5,
            color=OKABE_ITO["vermillion"], clip_on=False, label="changed token",
        )  # fmt: skip
    axes.set(xlabel="generated token", ylabel="KL, nats (at least)", title="Next-token probabilities")
    axes.set(ylim=(-0.07 * top if changed else 0, top), xlim=(-0.6, len(rows) - 0.4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.legend(loc="outside lower left", ncols=5)


def _draw_routing(axes: Axes, change: RoutingChange) -> None:
    rows = np.arange(len(change.layers))
    axes.plot(rows, change.experts, color=OKABE_ITO["blue"], marker="o", ms=4, lw=1.8, label="experts")
    axes.plot(
        rows, change.weight, color=OKABE_ITO["orange"], marker="s", ms=4, lw=1.8, ls="--", label="weight"
    )
    axes.set(xlabel="layer", ylabel="in common", ylim=(0, 1.03), title="Routing of the prompt")
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    layer_ticks(axes, change.layers, axis="x")
    axes.legend(loc="lower left")
    hide_frame(axes, keep="left bottom")
