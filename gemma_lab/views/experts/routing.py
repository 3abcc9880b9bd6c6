"""A routing on paper: script-free HTML of a layer, figures of tokens × experts and of loads by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from ..base.colors import amounts, data_url, heat, heaviest
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..base.html import Markup, bdi, escape, footnotes, table
from ..chat.chat import visible
from ..trace.tokens import label_of
from .patches import describe_patches, draw_patches, expert_patches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: A twin shows so many tokens one by one; more are pooled in the picture and left out of the text.
MOST_TOKENS = 400
_ROWS = 320  # of a heat picture
_TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.7;margin:.25em 0"
_CHIP = (
    "font:11px monospace;opacity:.65;border:1px solid rgba(127,127,127,.4);border-radius:4px;padding:0 .2em"
)
_CARD = "background:#fff;padding:6px;border-radius:6px;max-width:100%;height:auto;image-rendering:pixelated"
_SOFT = ("image", "video", "audio")


def routing_html(trace: Trace, *, layer: int, experts: Sequence[int] = ()) -> Markup:
    """Return one layer of a trace's routing as script-free HTML, and all layers' loads as a picture.

    Parameters
    ----------
    trace
        With a routing.
    layer
        The model's layer to show.
    experts
        Experts to tint the text by; without them, tokens are tinted by the router's entropy.

    Returns
    -------
    Markup
        At most some 150 kB, however long the trace is.
    """
    routing = _routing(trace)
    one = routing.layer(layer)
    tint = _by_experts(one, experts) if len(experts) else _by_entropy(one)
    said = f"weight of experts {', '.join(map(str, experts))}" if len(experts) else "router entropy"
    return Markup(
        f'<div role="group" aria-label="{escape(routing_text(trace, layer=layer))}" style="max-width:64em">'
        f'<div style="font-weight:600;padding:.25em 0">{bdi(visible(_name(trace)))}: layer {layer}</div>'
        f"{_spoken(trace, one, tint)}"
        f"{footnotes([f'Tint: {said}, more is stronger. Point at a token for its experts.'])}"
        f"{_pictures(trace, layer, experts)}"
        f"{_heat_image(trace, one)}{_load_image(routing, layer)}{_busiest(trace, one)}</div>"
    )


def routing_text(trace: Trace, *, layer: int) -> str:
    """Return one stable line: the trace, the layer and its busiest experts."""
    one = _routing(trace).layer(layer)
    counts = np.bincount(one.ids.reshape(-1), minlength=one.experts)
    order = np.argsort(-counts, kind="stable")[:3]
    busiest = ", ".join(f"{expert} ({counts[expert]:,})" for expert in order)
    return (
        f"{visible(_name(trace))}, layer {layer}: {len(one):,} tokens to {one.top_k} of {one.experts} "
        f"experts; busiest {busiest}; {int((counts == 0).sum())} unused"
    )


def routing_figure(trace: Trace, *, layer: int, start: int = 0, stop: int | None = None) -> Plot:
    """Return tokens × experts of one layer as a figure.

    Parameters
    ----------
    trace
        With a routing.
    layer
        The model's layer.
    start, stop
        The tokens. More than 320 rows are pooled: a row is then the heaviest weight of several tokens.

    Raises
    ------
    BadTrace
        If the trace holds no routing.
    """
    where = slice(start, stop)
    one = _routing(trace).layer(layer).select(where)
    dense, per_row = _dense(one)
    rows = len(dense)
    with new_figure(8.2, min(9.0, max(2.4, 0.9 + rows * (0.17 if rows <= 48 else 0.02)))) as (figure, axes):
        top = heaviest(one.weights)
        axes.imshow(
            amounts(dense / top),
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, one.experts - 0.5, rows, 0),
        )
        axes.set_xlabel(f"expert (0 … {one.experts - 1})")
        axes.set_title(f"Layer {layer}: which experts serve which tokens")
        hide_frame(axes, keep="bottom left")
        if rows <= 48 and per_row == 1:
            _name_rows(axes, trace, where)
        else:
            axes.set_ylabel("token" if per_row == 1 else f"tokens, {per_row} a row (heaviest)")
            ticks = np.linspace(0, rows, 5)
            axes.set_yticks(ticks, [f"{start + round(tick * per_row):,}" for tick in ticks])
        _scale(figure, axes, top)
    pooled = "" if per_row == 1 else f", {per_row} tokens pooled a row"
    return Plot(
        figure,
        text=f"layer {layer}: {len(one):,} tokens × {one.experts} experts, weights 0 to {top:.2f} or more"
        f"{pooled}",
    )


def load_by_layer_figure(trace: Trace, *, layers: Sequence[int] | None = None) -> Plot:
    """Return the load of every expert as bars, one strip a layer, against an even split.

    Parameters
    ----------
    trace
        With a routing.
    layers
        The model's layers; by default all, or ten evenly spaced ones of more.

    Raises
    ------
    BadTrace
        If the trace holds no routing.
    """
    routing = _routing(trace)
    every = routing.layers
    spaced = [every[round(at)] for at in np.linspace(0, len(every) - 1, min(10, len(every)))]
    shown = list(spaced if layers is None else layers)
    tokens, even = len(routing), routing.top_k / routing.experts
    rates = [
        np.bincount(routing.layer(one).ids.reshape(-1), minlength=routing.experts) / tokens for one in shown
    ]
    top = max(float(rate.max()) for rate in rates)
    with new_figure(8.2, 0.7 + 0.62 * len(shown), nrows=len(shown), sharex=True, squeeze=False) as (
        figure,
        grid,
    ):
        for axes, number, rate in zip(grid[:, 0], shown, rates, strict=True):
            axes.bar(np.arange(routing.experts), rate * 100, width=0.86, color=OKABE_ITO["blue"])
            axes.axhline(even * 100, color=INK, linewidth=0.8, linestyle=(0, (3, 3)))
            axes.set_ylim(0, top * 108)
            axes.set_yticks([0, round(top * 100)])
            axes.set_ylabel(f"layer {number}", rotation=0, ha="right", va="center")
            axes.margins(x=0.005)
            hide_frame(axes, keep="bottom")
        grid[0, 0].set_title(f"% of {tokens:,} tokens each expert served (dashed: an even split, {even:.1%})")
        grid[-1, 0].set_xlabel(f"expert (0 … {routing.experts - 1})")
    unused = ", ".join(
        f"{number}: {int((rate == 0).sum())}" for number, rate in zip(shown, rates, strict=True)
    )
    return Plot(
        figure, text=f"busiest expert served {top:.0%} of {tokens:,} tokens; unused experts by layer {unused}"
    )


# ── parts of the twin ──────────────────────────────────────────────────────────────────────────────────


def _routing(trace: Trace) -> Routing:
    if trace.routing is None:
        raise BadTrace("This trace holds no routing.", hint="Trace a mixture-of-experts model.")
    return trace.routing


def _name(trace: Trace) -> str:
    return str(trace.meta.get("model", "trace"))


def _by_entropy(one: Routing) -> NDArray[np.float64]:
    entropy = np.asarray(one.entropy[0], dtype=float)
    low, high = np.quantile(entropy, [0.05, 0.95]) if entropy.size else (0.0, 0.0)
    return np.clip((entropy - low) / max(high - low, 1e-9), 0, 1)


def _by_experts(one: Routing, experts: Sequence[int]) -> NDArray[np.float64]:
    weights = (one.weights[0] * np.isin(one.ids[0], list(experts))).sum(axis=-1)
    return np.asarray(weights / max(float(weights.max(initial=0.0)), 1e-9), dtype=float)


def _spoken(trace: Trace, one: Routing, tint: NDArray[np.float64]) -> str:
    """Return the text, token by token, with its experts as hover titles; soft tokens as one mark a run."""
    tokens = trace.tokens
    parts = []
    at, end = 0, min(len(tokens), MOST_TOKENS)
    while at < end:
        kind = tokens.modalities[at]
        if kind in _SOFT:
            stop = at
            while stop < len(tokens) and tokens.modalities[stop] == kind:
                stop += 1
            parts.append(f'<bdi style="{_CHIP}">{kind} × {stop - at:,}</bdi>')
            at = stop
            continue
        parts.append(_token(str(tokens.texts[at]), str(tokens.pieces[at]), kind, one.ids[0][at], tint[at]))
        at += 1
    left = len(tokens) - at
    more = f"<div>… {left:,} more tokens are in the picture below.</div>" if left > 0 else ""
    return f'<div dir="auto" style="{_TEXT}">{"".join(parts)}</div>{more}'


def _token(text: str, piece: str, kind: str, ids: NDArray[Any], tint: float) -> str:
    experts = ", ".join(str(expert) for expert in ids.tolist())
    if kind == "special" and not text:
        return f'<bdi dir="ltr" title="experts {experts}" style="{_CHIP}">{escape(visible(piece))}</bdi>'
    if not text:
        return ""
    shade = f"background-color:rgba(230,159,0,{0.6 * tint:.1f})"
    return f'<span title="experts {experts}" style="{shade}">{escape(visible(text))}</span>'


def _pictures(trace: Trace, layer: int, experts: Sequence[int]) -> str:
    parts = []
    for image in range(min(4, len(trace.images))):
        found = expert_patches(trace, image=image, layer=layer, experts=experts)
        text = escape(describe_patches(found, image=image, experts=experts))
        parts.append(
            f'<figure style="display:inline-block;margin:.5em 1em .5em 0"><img alt="{text}" '
            f'style="max-width:300px;border-radius:6px" src="{data_url(draw_patches(trace, found, image=image))}">'
            f'<figcaption style="font-size:.85em;opacity:.8;max-width:300px">{text}</figcaption></figure>'
        )
    return "".join(parts)


def _dense(one: Routing) -> tuple[NDArray[np.float32], int]:
    """Return the weights as ``[rows, experts]``, and how many tokens were pooled into a row."""
    tokens = len(one)
    per_row = max(1, -(-tokens // _ROWS))
    dense = np.zeros((-(-tokens // per_row), one.experts), dtype=np.float32)
    rows = np.repeat(np.arange(tokens) // per_row, one.top_k)
    np.maximum.at(dense, (rows, one.ids[0].reshape(-1)), one.weights[0].reshape(-1))
    return dense, per_row


def _heat_image(trace: Trace, one: Routing) -> str:
    dense, per_row = _dense(one)
    top = heaviest(one.weights)
    tall = 8 if len(dense) <= 64 else 4 if len(dense) <= 128 else 2
    rows = (
        "one row a token" if per_row == 1 else f"one row every {per_row} tokens, the heaviest weight of each"
    )
    text = (
        f"Layer {one.layers[0]}: {len(trace.tokens):,} tokens (down) × {one.experts} experts (across); "
        f"{rows}; weights 0 (pale) to {top:.2f} or more (dark)"
    )
    return _figure(data_url(heat(dense / top, cell=(max(2, 640 // one.experts), tall))), text)


def _load_image(routing: Routing, layer: int) -> str:
    counts = np.stack([np.bincount(ids.reshape(-1), minlength=routing.experts) for ids in routing.ids])
    top = max(1, int(counts.max()))
    text = (
        f"All layers ({routing.layers[0]} to {routing.layers[-1]}, down) × experts (across): tokens served, "
        f"0 (pale) to {top:,} (dark); layer {layer} is above"
    )
    return _figure(data_url(heat(counts / top, cell=(max(2, 640 // routing.experts), 6))), text)


def _figure(address: str, text: str) -> str:
    return (
        f'<figure style="margin:.6em 0"><img src="{address}" alt="{escape(text)}" style="{_CARD}">'
        f'<figcaption style="font-size:.85em;opacity:.8">{escape(text)}</figcaption></figure>'
    )


def _busiest(trace: Trace, one: Routing) -> Markup:
    counts = np.bincount(one.ids.reshape(-1), minlength=one.experts)
    rows = []
    for expert in np.argsort(-counts, kind="stable")[:8].tolist():
        served, rank = np.nonzero(one.ids[0] == expert)
        weights = one.weights[0][served, rank]
        strongest = served[np.argsort(-weights, kind="stable")[:5]].tolist()
        rows.append(
            (
                expert,
                f"{counts[expert]:,}",
                f"{100 * counts[expert] / len(one):.0f} %",
                Markup(" · ".join(bdi(label_of(trace, token)) for token in strongest)),
            )
        )
    even = f"{100 * one.top_k / one.experts:.1f} %"
    return table(
        rows,
        columns=("expert", "tokens served", "of all", "heaviest on"),
        align="rrrl",
        caption=f"Busiest experts of layer {one.layers[0]} (an even split: {even})",
    )


# ── parts of the figures ───────────────────────────────────────────────────────────────────────────────


def _name_rows(axes: Any, trace: Trace, where: slice) -> None:
    tokens = range(len(trace.tokens))[where]
    names = [label_of(trace, token)[:18] for token in tokens]
    axes.set_yticks(
        np.arange(len(names)) + 0.5,
        [name if writable(name) else f"token {token}" for name, token in zip(names, tokens, strict=True)],
        fontsize=8,
        fontfamily=list(families()),
    )
    axes.tick_params(axis="y", length=0)


def _scale(figure: Any, axes: Any, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(amounts(np.linspace(0.001, 1, 128)) / 255.0)
    shown = ScalarMappable(Normalize(0, top), shades)
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, extend="max")
    bar.set_label("weight applied")
    bar.outline.set_visible(False)
