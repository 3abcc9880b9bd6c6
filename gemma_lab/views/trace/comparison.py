"""Two traces side by side, as script-free HTML and as a figure.

Changes are marked as ``<del>`` and ``<ins>``, struck through and underlined, never by colour alone.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...errors import LabError
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, details, footnotes, group, join, table, tag
from ..base.text import percent, visible_token
from ..experts.load import layer_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...analysis.alignment import AlignedPair
    from ...analysis.comparison import Comparison, RoutingChange

#: Rows of the token table, and tokens of each answer; further ones are counted.
_MAX_ROWS, _MAX_TOKENS = 200, 2_000
_TEXT = "white-space:pre-wrap;unicode-bidi:isolate;overflow-wrap:anywhere;line-height:1.6;margin:.25em 0"
_MARKS = {
    "del": "text-decoration:line-through 2px #D55E00;background-color:rgba(213,94,0,.15)",
    "ins": "text-decoration:underline 2px #0072B2;background-color:rgba(86,180,233,.2)",
}
_CHANGES = {"same": "", "replaced": "replaced", "removed": "only in the first", "added": "only in the second"}
_NOTE_KL = (
    "KL ≥: lower bound of KL(first ‖ second) of the next token, in nats. Tokens whose probability was "
    "recorded on both sides are outcomes of their own, all others are merged into one; merging outcomes "
    "never increases a divergence. Resolved: probability, under the first, of the outcomes of their own."
)
_NOTE_CONTEXT = "Not the same context: the preceding texts differ, so texts are compared as well as models."
_NOTE_ROUTING = (
    "Means over the tokens that both prompts begin with. Experts in common: chosen by both ÷ chosen by "
    "either. Weight in common: Σ min of the two gate weights of each expert."
)


def comparison_html(comparison: Comparison) -> Markup:
    """Return a comparison as HTML: findings, both answers, their tokens, and the routing by layer.

    Parameters
    ----------
    comparison
        From `gemma_lab.compare`.
    """
    names = " and ".join(comparison.names)
    return group(
        f"Comparison of {names}",
        tag("div", names, style="font-weight:600"),
        tag("ul", *(tag("li", finding) for finding in comparison.findings()), style="margin:.25em 0"),
        _answers(comparison) + _tokens(comparison) if comparison.pairs else "",
        "" if comparison.routing is None else _layers(comparison.routing),
        style="margin:.5em 0",
    )


def comparison_figure(comparison: Comparison) -> Plot:
    """Draw the divergence at each generated token, and the routing that each layer has in common.

    Parameters
    ----------
    comparison
        From `gemma_lab.compare`.

    Raises
    ------
    LabError
        If neither trace generated anything and there is no routing to compare.
    """
    routing = comparison.routing
    panels = bool(comparison.pairs) + (routing is not None)
    if not panels:
        raise LabError(
            f"There is nothing to draw: no generated tokens, and {comparison.note}.",
            hint="Trace with max_new_tokens=20, or a model with experts.",
        )
    with new_figure(5.2 * panels, 3.4, ncols=panels, squeeze=False) as (figure, axes):
        if comparison.pairs:
            _draw_answer(axes[0, 0], comparison)
        if routing is not None:
            _draw_routing(axes[0, -1], routing)
    return Plot(figure, text=f"{' and '.join(comparison.names)}: {'; '.join(comparison.findings())}")


def routing_change_figure(change: RoutingChange) -> Plot:
    """Draw what the routing of each layer has in common in two runs.

    Parameters
    ----------
    change
        The ``routing`` of a comparison.
    """
    with new_figure(5.6, 3.4) as (figure, axes):
        _draw_routing(axes, change)
    return Plot(figure, text=repr(change).removeprefix("RoutingChange(").removesuffix(")"))


def _answers(comparison: Comparison) -> Markup:
    sides: tuple[Literal["first", "second"], ...] = ("first", "second")
    blocks = [
        tag(
            "div",
            tag("div", name, style="font-size:.85em;opacity:.8"),
            tag("div", _answer(comparison.pairs, texts, side), dir="auto", style=_TEXT),
            style="flex:1 1 16em;min-width:0",
        )
        for name, texts, side in zip(comparison.names, comparison.texts, sides, strict=True)
    ]
    return tag("div", *blocks, style="display:flex;flex-wrap:wrap;gap:1em")


def _answer(
    pairs: tuple[AlignedPair, ...], texts: tuple[str, ...], side: Literal["first", "second"]
) -> Markup:
    """Join the tokens of one side; a changed run is one mark, so that joined letters stay joined."""
    positions = [
        (position, pair.change != "same") for pair in pairs if (position := getattr(pair, side)) is not None
    ]
    mark = "del" if side == "first" else "ins"
    parts: list[object] = []
    for changed, run in groupby(positions[:_MAX_TOKENS], key=lambda item: item[1]):
        text = "".join(texts[position] for position, _ in run)
        parts.append(tag(mark, text, style=_MARKS[mark]) if changed and text else text)
    left = len(positions) - _MAX_TOKENS
    return join([*parts, tag("i", f" … {left:,} more tokens") if left > 0 else ""])


def _tokens(comparison: Comparison) -> Markup:
    rows = [_row(comparison, row) for row in range(min(len(comparison.pairs), _MAX_ROWS))]
    notes = [_NOTE_KL]
    notes += [] if comparison.same_context.all() else [_NOTE_CONTEXT]
    left = len(comparison.pairs) - len(rows)
    notes += [f"{left:,} more rows are not shown."] if left > 0 else []
    columns = ("#", "first", "probability", "second", "probability", "", "KL ≥", "resolved", "same context")
    tokens = table(rows, columns=columns, align="rlrlrlrrl", caption="Generated tokens", notes=notes)
    return details("Tokens one by one", tokens)


def _row(comparison: Comparison, row: int) -> tuple[object, ...]:
    pair = comparison.pairs[row]
    cells: list[object] = [row]
    for side, place in enumerate((pair.first, pair.second)):
        logprob = comparison.logprobs[row, side]
        cells.append("" if place is None else bdi(visible_token(comparison.labels[side][place])))
        cells.append("" if math.isnan(logprob) else percent(math.exp(logprob)))
    nats, resolved = comparison.kl[row], comparison.resolved[row]
    overruled = " and ".join(
        name for name, bound in zip(("first", "second"), comparison.overruled[row], strict=True) if bound
    )
    grammar = f"overruled in the {overruled}" if overruled else ""
    cells += [", ".join(filter(None, (_CHANGES[pair.change], grammar)))]
    cells += ["", "", ""] if math.isnan(nats) else [
        f"{nats:.3g}", percent(resolved), "yes" if comparison.same_context[row] else "no"
    ]  # fmt: skip
    return tuple(cells)


def _layers(change: RoutingChange) -> Markup:
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
    return details("Routing by layer", layers, footnotes(notes))


def _draw_answer(axes: Axes, comparison: Comparison) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = np.arange(len(comparison.pairs))
    same, kl = comparison.same_context, comparison.kl
    top = max(float(kl[np.isfinite(kl)].max(initial=0.0)), 1e-3) * 1.15
    kl = np.nan_to_num(kl, nan=0.0, posinf=2 * top)  # an infinite divergence is cut at the top
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
