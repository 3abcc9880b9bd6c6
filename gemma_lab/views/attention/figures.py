"""Figures of attention: all heads of a trace, the map of one head, the attention of a token to an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...analysis.attention.rows import (
    attention_row,
    describe_pooling,
    head_index,
    image_patches,
    pool_maps,
    require_attention_maps,
    scale_max,
    without_sink,
)
from ..base.colors import amount_colors
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..base.images import colour_patches
from ..base.text import visible
from ..base.tokens import model_name, token_label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...trace.records.attention import Attention, HeadLayout
    from ...trace.trace import Trace

_TILE, _SMALL_TILE, _MANY_HEADS = 40, 26, 128  # pixels per head, fewer where there are more heads than this
_KINDS = {"local": OKABE_ITO["sky"], "global": OKABE_ITO["vermillion"]}


def attention_text(trace: Trace, *, layer: int, head: int) -> str:
    """Describe a head in one stable line: trace, layer, head, and means over its queries."""
    attention = require_attention_maps(trace)
    at = head_index(attention, head)
    parts = [
        f"{visible(model_name(trace))}, layer {layer} ({describe_layer(attention.layout(layer))}), "
        f"head {head}: {len(attention):,} tokens"
    ]
    if {"entropy", "first_token_mass", "distance"} <= attention.per_query.keys():
        rest = slice(1 if len(attention) > 1 else 0, None)
        entropy, first, distance = (
            float(of(layer)[at, rest].mean())
            for of in (attention.entropy, attention.first_token_mass, attention.distance)
        )
        parts.append(
            f"entropy {entropy:.2f} nats, {first:.0%} on the first token, mean distance {distance:.1f} tokens"
        )
    parts.append(describe_pooling(attention))
    return "; ".join(parts)


def attention_heads_figure(trace: Trace | Attention) -> Plot:
    """Draw the maps of all heads, one column per layer, each on its own scale and without the first token.

    Parameters
    ----------
    trace
        With attention maps; or its ``attention``.

    Raises
    ------
    BadTrace
        If it holds none.
    """
    attention = require_attention_maps(trace)
    layers, heads = len(attention.layers), len(attention.heads)
    wide = min(12.0, 1.0 + 0.62 * layers)
    with new_figure(wide, 1.45 + (wide - 1.0) / layers * heads) as (figure, axes):
        axes.imshow(all_heads_image(attention), interpolation="nearest")
        tile = tile_size(attention)
        middles = tile * (np.arange(layers) + 0.5)
        axes.set_xticks(middles, [str(layout.layer) for layout in attention.layers])
        axes.set_yticks(tile * (np.arange(heads) + 0.5), [str(head) for head in attention.heads])
        axes.tick_params(length=0)
        for tick, layout in zip(axes.get_xticklabels(), attention.layers, strict=True):
            tick.set_fontweight("bold" if layout.kind == "global" else "normal")
        axes.set(xlabel=f"layer (global ones bold{describe_kv_sharing(attention)})", ylabel="head")
        axes.set_title("Attention pattern of every head,\nwithout the first token")
        hide_frame(axes)
    kinds = ", ".join(
        f"{n} {kind}" for kind in _KINDS if (n := sum(o.kind == kind for o in attention.layers))
    )
    return Plot(
        figure, text=f"maps of {layers} layers ({kinds}) × {heads} heads, {describe_pooling(attention)}"
    )


def attention_map_figure(trace: Trace, *, layer: int, head: int) -> Plot:
    """Draw the map of one head; its attention to the first token is drawn beside it.

    Parameters
    ----------
    trace
        With attention maps.
    layer, head
        The model's layer and its query head.

    Raises
    ------
    BadTrace
        If the trace holds no maps.
    """
    attention = require_attention_maps(trace)
    maps, sink = without_sink(attention, layer)
    at, edges = head_index(attention, head), np.asarray(attention.bin_edges)
    top = scale_max(maps[at])
    named = attention.bins == len(attention) <= 48
    size = 7.4 if named else 6.2
    with new_figure(size, size - 0.6, ncols=2, width_ratios=[1, 22], sharey=True) as (figure, (side, axes)):
        axes.imshow(amount_colors(maps[at] / top), interpolation="nearest", aspect="auto")
        side.barh(np.arange(len(sink[at])), sink[at], height=1.0, color=OKABE_ITO["orange"])
        side.set(xlim=(0, 1), xticks=[0, 1], xlabel="on the\nfirst token")
        axes.set_title(f"Layer {layer}, head {head} ({describe_layer(attention.layout(layer))})")
        axes.set_xlabel("key")
        side.set_ylabel("query")
        for each in (side, axes):
            hide_frame(each, keep="bottom left" if each is axes else "left")
        _name_edges(trace, attention, side, axes, named=named, edges=edges)
        _scale(figure, axes, top)
    return Plot(figure, text=attention_text(trace, layer=layer, head=head))


def image_attention_figure(
    trace: Trace, *, layer: int, query: int, head: int | None = None, image: int = 0
) -> Plot:
    """Draw an image of the prompt with its patches tinted by the attention of one token.

    Parameters
    ----------
    trace
        With attention, and an image in its prompt.
    layer
        The model's layer.
    query
        Row of the token whose attention is drawn.
    head
        Its query head. Default: the mean of all recorded heads.
    image
        Index of the image, counted from 0.

    Raises
    ------
    LabError
        If the trace has no such image.
    """
    weights, precision = attention_row(trace, layer=layer, query=query, head=head)
    patches = image_patches(trace, image)
    total = float(weights[patches].sum())
    text = (
        f"layer {layer}, {'all heads' if head is None else f'head {head}'}: token {query} "
        f"({token_label(trace, query)}) gives image {image + 1} {total:.1%} of its attention ({precision})"
    )
    with new_figure(4.8, 4.4) as (figure, axes):
        axes.imshow(np.asarray(draw_image_attention(trace, patches, weights[patches], image)))
        axes.set_title(
            f"Layer {layer}, {'all heads' if head is None else f'head {head}'}: {total:.1%} of the attention"
        )
        hide_frame(axes)
        most = float(weights[patches].max(initial=0.0))
        axes.set(xticks=[], yticks=[], xlabel=f"darkest patch: {most:.1%} of the attention")
    return Plot(figure, text=text)


def describe_layer(layout: HeadLayout) -> str:
    """Describe what a layer attends to: its kind, its window, and whose keys it uses."""
    words = layout.kind if layout.window is None else f"{layout.kind}, window {layout.window:,}"
    return words if layout.kv_shared_from is None else f"{words}, keys of layer {layout.kv_shared_from}"


def describe_kv_sharing(attention: Attention) -> str:
    """Describe which layers reuse the keys of others; empty if none does."""
    shared = attention.kv_shared_layers
    if not shared:
        return ""
    donors = " and ".join(str(kv_shared_from) for kv_shared_from in sorted(set(shared.values())))
    return f"; {min(shared)} to {max(shared)} reuse the keys of {donors}"


def tile_size(attention: Attention) -> int:
    """Return the side in pixels of one head in the image of all heads."""
    return _TILE if len(attention.layers) * len(attention.heads) <= _MANY_HEADS else _SMALL_TILE


def all_heads_image(attention: Attention) -> NDArray[np.uint8]:
    """Return all heads as one image ``[height, width, 3]``, a column per layer."""
    columns, size = [], tile_size(attention)
    for layout in attention.layers:
        maps, sink = without_sink(attention, layout.layer)
        small = pool_maps(maps, attention.bin_edges, limit=size - 5)
        tiles = [_tile(one, float(share.mean()), size) for one, share in zip(small, sink, strict=True)]
        columns.append(np.concatenate(tiles))
    return np.concatenate(columns, axis=1)


def _tile(one: NDArray[np.float32], first: float, size: int) -> NDArray[np.uint8]:
    side = size - 5
    at = np.arange(side) * len(one) // side
    tile = np.full((size, size, 3), 255, dtype=np.uint8)
    tile[2 : side + 2, 4 : side + 4] = amount_colors(np.clip(one / scale_max(one), 0, 1))[at][:, at]
    tall = round(side * first)
    tile[2 : side + 2, 1:3] = (225, 228, 232)
    tile[side + 2 - tall : side + 2, 1:3] = (230, 159, 0)
    return tile


def draw_image_attention(
    trace: Trace, patches: NDArray[np.intp], weights: NDArray[np.float32], image: int
) -> Image:
    """Return an image of the prompt (or a grey sheet) with its patches tinted by attention weights."""
    tints = amount_colors(weights / (float(weights.max(initial=0.0)) or 1.0)).tolist()
    colours = [
        (*tint, 191) if weight > 0 else (255, 255, 255, 150)
        for tint, weight in zip(tints, weights, strict=True)
    ]
    original = trace.images[image] if image < len(trace.images) else None
    return colour_patches(original, trace.tokens.boxes[patches], colours)


def _name_edges(trace: Trace, attention: Attention, side: Any, axes: Any, *, named: bool, edges: Any) -> None:
    if named:
        names = [token_label(trace, token)[:14] for token in range(len(attention))]
        shown = [name if writable(name) else f"token {token}" for token, name in enumerate(names)]
        style = {"fontsize": 7, "fontfamily": list(families())}
        side.set_yticks(np.arange(len(shown)), shown, **style)
        axes.set_xticks(np.arange(len(shown)), shown, rotation=90, **style)
    else:
        at = np.unique(np.linspace(0, attention.bins - 1, 5).round().astype(int))
        side.set_yticks(at, [f"{edge:,}" for edge in edges[at]])
        axes.set_xticks(at, [f"{edge:,}" for edge in edges[at]])
    axes.tick_params(length=0, colors=INK)


def _scale(figure: Any, axes: Any, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(amount_colors(np.linspace(0.001, 1, 128)) / 255.0)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), shades), ax=axes, fraction=0.035, pad=0.01, extend="max"
    )
    bar.set_label("attention weight")
    bar.outline.set_visible(False)
