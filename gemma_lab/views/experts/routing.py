"""Expert routing of a trace: a layer as script-free HTML, figures of weights and of loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from ...trace.records.routing import Routing
from ..base.colors import amount_colors, heat_image, png_data_url, weight_scale_max
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..base.html import CHIP, TEXT, Markup, bdi, figure, footnotes, group, heading, join, table, tag
from ..base.text import visible
from ..base.tokens import MEDIA, model_name, token_label
from .patches import describe_patches, draw_patches, expert_patches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...trace.trace import Trace

#: Tokens shown one by one; further ones are part of the heat map.
MAX_TOKENS = 400
_MAX_ROWS = 320  # of a heat map


def routing_html(trace: Trace, *, layer: int, experts: Sequence[int] = ()) -> Markup:
    """Return the routing of one layer as script-free HTML, with the loads of all layers as an image.

    Parameters
    ----------
    trace
        With routing.
    layer
        The model's layer to show.
    experts
        Experts whose summed weight tints the text. Default: tint by the router's entropy.

    Returns
    -------
    Markup
        At most about 150 kB, however long the trace is.
    """
    routing = _routing(trace)
    one = routing.layer(layer)
    tint = _by_experts(one, experts) if len(experts) else _by_entropy(one)
    tinted_by = f"weight of experts {', '.join(map(str, experts))}" if len(experts) else "router entropy"
    return group(
        routing_text(trace, layer=layer),
        heading(bdi(visible(model_name(trace))), f": layer {layer}"),
        _tinted_text(trace, one, tint),
        footnotes([f"Tint: {tinted_by}, more is stronger. Hover over a token for its experts."]),
        _images(trace, layer, experts),
        _heat_map(trace, one),
        _loads(routing, layer),
        _busiest(trace, one),
    )


def routing_text(trace: Trace, *, layer: int) -> str:
    """Describe the routing of a layer in one stable line: trace, layer, busiest experts."""
    one = _routing(trace).layer(layer)
    counts = np.bincount(one.ids.reshape(-1), minlength=one.experts)
    order = np.argsort(-counts, kind="stable")[:3]
    busiest = ", ".join(f"{expert} ({counts[expert]:,})" for expert in order)
    return (
        f"{visible(model_name(trace))}, layer {layer}: {len(one):,} tokens to {one.top_k} of {one.experts} "
        f"experts; busiest {busiest}; {int((counts == 0).sum())} unused"
    )


def routing_figure(trace: Trace, *, layer: int, start: int = 0, stop: int | None = None) -> Plot:
    """Draw the gate weights of one layer, tokens × experts.

    Parameters
    ----------
    trace
        With routing.
    layer
        The model's layer.
    start, stop
        Rows of the token table. More than 320 are pooled: each row is then the maximum of several tokens.

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
        top = weight_scale_max(one.weights)
        axes.imshow(
            amount_colors(dense / top),
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, one.experts - 0.5, rows, 0),
        )
        axes.set_xlabel(f"expert (0 … {one.experts - 1})")
        axes.set_title(f"Layer {layer}: gate weights of tokens × experts")
        hide_frame(axes, keep="bottom left")
        if rows <= 48 and per_row == 1:
            _name_rows(axes, trace, where)
        else:
            axes.set_ylabel("token" if per_row == 1 else f"tokens, {per_row} per row (maximum)")
            ticks = np.linspace(0, rows, 5)
            axes.set_yticks(ticks, [f"{start + round(tick * per_row):,}" for tick in ticks])
        _scale(figure, axes, top)
    pooled = "" if per_row == 1 else f", {per_row} tokens pooled per row"
    return Plot(
        figure,
        text=f"layer {layer}: {len(one):,} tokens × {one.experts} experts, weights 0 to {top:.2f} or more"
        f"{pooled}",
    )


def load_by_layer_figure(trace: Trace | Routing, *, layers: Sequence[int] | None = None) -> Plot:
    """Draw the load of every expert as bars, one strip per layer, with the even load.

    Parameters
    ----------
    trace
        With routing; or its ``routing``.
    layers
        The model's layers. Default: all, or ten evenly spaced ones.

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
        grid[0, 0].set_title(
            f"Load: % of {tokens:,} tokens routed to each expert (dashed: even load, {even:.1%})"
        )
        grid[-1, 0].set_xlabel(f"expert (0 … {routing.experts - 1})")
    unused = ", ".join(
        f"{number}: {int((rate == 0).sum())}" for number, rate in zip(shown, rates, strict=True)
    )
    return Plot(
        figure, text=f"busiest expert: {top:.0%} of {tokens:,} tokens; unused experts by layer {unused}"
    )


def loads_html(routing: Routing) -> Markup:
    """Return a routing record: its summary, and the loads of all layers as an image."""
    summary = repr(routing).removeprefix("Routing(").removesuffix(")")
    return group(summary, heading("Routing: ", summary), _loads(routing) if len(routing) else "")


def _routing(trace: Trace | Routing) -> Routing:
    if isinstance(trace, Routing):
        return trace
    if trace.routing is None:
        raise BadTrace("This trace holds no routing.", hint="Trace a mixture-of-experts model.")
    return trace.routing


def _by_entropy(one: Routing) -> NDArray[np.float64]:
    entropy = np.asarray(one.entropy[0], dtype=float)
    low, high = np.quantile(entropy, [0.05, 0.95]) if entropy.size else (0.0, 0.0)
    return np.clip((entropy - low) / max(high - low, 1e-9), 0, 1)


def _by_experts(one: Routing, experts: Sequence[int]) -> NDArray[np.float64]:
    weights = (one.weights[0] * np.isin(one.ids[0], list(experts))).sum(axis=-1)
    return np.asarray(weights / max(float(weights.max(initial=0.0)), 1e-9), dtype=float)


def _tinted_text(trace: Trace, one: Routing, tint: NDArray[np.float64]) -> Markup:
    """Return the text with the experts of each token as hover titles; a run of soft tokens is one mark."""
    tokens, parts = trace.tokens, []
    row, end = 0, min(len(trace.tokens), MAX_TOKENS)
    while row < end:
        modality, stop = tokens.modalities[row], row + 1
        if modality in MEDIA:
            while stop < len(tokens) and tokens.modalities[stop] == modality:
                stop += 1
            parts.append(tag("bdi", f"{modality} × {stop - row:,}", style=CHIP))
        else:
            piece = str(tokens.pieces[row])
            parts.append(_token(str(tokens.texts[row]), piece, modality, one.ids[0][row], tint[row]))
        row = stop
    left = len(tokens) - row
    more = tag("div", f"… {left:,} more tokens are part of the image below.") if left > 0 else ""
    return join([tag("div", *parts, dir="auto", style=TEXT), more])


def _token(text: str, piece: str, modality: str, ids: NDArray[Any], tint: float) -> Markup:
    title = f"experts {', '.join(str(expert) for expert in ids.tolist())}"
    if modality == "special" and not text:
        return tag("bdi", visible(piece), dir="ltr", title=title, style=CHIP)
    if not text:
        return Markup("")
    return tag("span", visible(text), title=title, style=f"background-color:rgba(230,159,0,{0.6 * tint:.1f})")


def _images(trace: Trace, layer: int, experts: Sequence[int]) -> Markup:
    figures = []
    for image in range(min(4, len(trace.images))):
        patches = expert_patches(trace, image=image, layer=layer, experts=experts)
        address = png_data_url(draw_patches(trace, patches, image=image))
        figures.append(figure(address, describe_patches(patches, image=image, experts=experts), width=300))
    return join(figures)


def _dense(one: Routing) -> tuple[NDArray[np.float32], int]:
    """Return the weights ``[rows, experts]``, and how many tokens are pooled into a row."""
    tokens = len(one)
    per_row = max(1, -(-tokens // _MAX_ROWS))
    dense = np.zeros((-(-tokens // per_row), one.experts), dtype=np.float32)
    rows = np.repeat(np.arange(tokens) // per_row, one.top_k)
    np.maximum.at(dense, (rows, one.ids[0].reshape(-1)), one.weights[0].reshape(-1))
    return dense, per_row


def _heat_map(trace: Trace, one: Routing) -> Markup:
    dense, per_row = _dense(one)
    top = weight_scale_max(one.weights)
    height = 8 if len(dense) <= 64 else 4 if len(dense) <= 128 else 2
    rows = (
        "one row per token" if per_row == 1 else f"one row per {per_row} tokens, the largest weight of each"
    )
    return figure(
        png_data_url(heat_image(dense / top, cell=(max(2, 640 // one.experts), height))),
        f"Layer {one.layers[0]}: {len(trace.tokens):,} tokens (down) × {one.experts} experts (across); "
        f"{rows}; weights 0 (pale) to {top:.2f} or more (dark)",
    )


def _loads(routing: Routing, layer: int | None = None) -> Markup:
    counts = np.stack([np.bincount(ids.reshape(-1), minlength=routing.experts) for ids in routing.ids])
    top = max(1, int(counts.max()))
    return figure(
        png_data_url(heat_image(counts / top, cell=(max(2, 640 // routing.experts), 6))),
        f"All layers ({routing.layers[0]} to {routing.layers[-1]}, down) × experts (across): load in tokens, "
        f"0 (pale) to {top:,} (dark){f'; layer {layer} is shown above' if layer is not None else ''}",
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
                join([bdi(token_label(trace, token)) for token in strongest], " · "),
            )
        )
    even = f"{100 * one.top_k / one.experts:.1f} %"
    return table(
        rows,
        columns=("expert", "load in tokens", "of all", "largest weights"),
        align="rrrl",
        caption=f"Busiest experts of layer {one.layers[0]} (even load: {even})",
    )


def _name_rows(axes: Any, trace: Trace, where: slice) -> None:
    tokens = range(len(trace.tokens))[where]
    names = [token_label(trace, token)[:18] for token in tokens]
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

    shades = ListedColormap(amount_colors(np.linspace(0.001, 1, 128)) / 255.0)
    shown = ScalarMappable(Normalize(0, top), shades)
    bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.01, extend="max")
    bar.set_label("weight applied")
    bar.outline.set_visible(False)
