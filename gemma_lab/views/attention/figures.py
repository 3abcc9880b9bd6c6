"""Attention on paper: all heads of a trace at a glance, one head's map, where a token looks on a picture."""

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
from ..base.colors import amounts
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..chat.chat import visible
from ..trace.tokens import label_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from ...trace.records.attention import Attention, HeadLayout
    from ...trace.trace import Trace

_SMALL, _SMALLER, _MANY = 40, 26, 128  # pixels of one head among all, and of one of very many
_LONGEST = 420  # pixels of a drawn picture
_KINDS = {"local": OKABE_ITO["sky"], "global": OKABE_ITO["vermillion"]}


def attention_text(trace: Trace, *, layer: int, head: int) -> str:
    """Return one stable line: the trace, the head, and what it does on average."""
    attention = require_attention_maps(trace)
    at = head_index(attention, head)
    parts = [
        f"{visible(name_of(trace))}, layer {layer} ({kind_of(attention.layout(layer))}), head {head}: "
        f"{len(attention):,} tokens"
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


def attention_heads_figure(trace: Trace) -> Plot:
    """Return the maps of all heads, one column a layer, each on its own scale and without the first token.

    Parameters
    ----------
    trace
        With attention maps.

    Raises
    ------
    BadTrace
        If the trace holds none.
    """
    attention = require_attention_maps(trace)
    layers, heads = len(attention.layers), len(attention.heads)
    wide = min(12.0, 1.0 + 0.62 * layers)
    with new_figure(wide, 0.9 + (wide - 1.0) / layers * heads) as (figure, axes):
        axes.imshow(sheet_of(attention), interpolation="nearest")
        tile = tile_of(attention)
        middles = tile * (np.arange(layers) + 0.5)
        axes.set_xticks(middles, [str(layout.layer) for layout in attention.layers])
        axes.set_yticks(tile * (np.arange(heads) + 0.5), [str(head) for head in attention.heads])
        axes.tick_params(length=0)
        for tick, layout in zip(axes.get_xticklabels(), attention.layers, strict=True):
            tick.set_fontweight("bold" if layout.kind == "global" else "normal")
        axes.set(xlabel=f"layer (global ones bold{sharing(attention)})", ylabel="head")
        axes.set_title("Where every head looks, the first token left out")
        hide_frame(axes)
    kinds = ", ".join(
        f"{n} {kind}" for kind in _KINDS if (n := sum(o.kind == kind for o in attention.layers))
    )
    return Plot(
        figure, text=f"maps of {layers} layers ({kinds}) × {heads} heads, {describe_pooling(attention)}"
    )


def attention_map_figure(trace: Trace, *, layer: int, head: int) -> Plot:
    """Return one head's map with the first token's share on a strip of its own.

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
    with new_figure(size, size - 0.6, ncols=2, width_ratios=[1, 22], sharey=True) as (figure, (strip, axes)):
        axes.imshow(amounts(maps[at] / top), interpolation="nearest", aspect="auto")
        strip.barh(np.arange(len(sink[at])), sink[at], height=1.0, color=OKABE_ITO["orange"])
        strip.set(xlim=(0, 1), xticks=[0, 1], xlabel="on the\nfirst token")
        axes.set_title(f"Layer {layer}, head {head} ({kind_of(attention.layout(layer))})")
        axes.set_xlabel("key")
        strip.set_ylabel("query")
        for each in (strip, axes):
            hide_frame(each, keep="bottom left" if each is axes else "left")
        _name_edges(trace, attention, strip, axes, named=named, edges=edges)
        _scale(figure, axes, top)
    return Plot(figure, text=attention_text(trace, layer=layer, head=head))


def image_attention_figure(
    trace: Trace, *, layer: int, query: int, head: int | None = None, image: int = 0
) -> Plot:
    """Return a picture of the prompt with its patches tinted by how much a token looks at them.

    Parameters
    ----------
    trace
        With attention, and a picture in its prompt.
    layer
        The model's layer.
    query
        The token that looks.
    head
        Its query head; the mean of all when omitted.
    image
        Which picture, counted from 0.

    Raises
    ------
    LabError
        If the trace has no such picture.
    """
    weights, how = attention_row(trace, layer=layer, query=query, head=head)
    patches = image_patches(trace, image)
    total = float(weights[patches].sum())
    said = (
        f"layer {layer}, {'all heads' if head is None else f'head {head}'}: token {query} "
        f"({label_of(trace, query)}) gives picture {image + 1} {total:.1%} of its row ({how})"
    )
    with new_figure(4.8, 4.4) as (figure, axes):
        axes.imshow(np.asarray(drawn(trace, patches, weights[patches], image)))
        axes.set_title(
            f"Layer {layer}, {'mean of heads' if head is None else f'head {head}'}: {total:.1%} of the row"
        )
        hide_frame(axes)
        axes.set(xticks=[], yticks=[])
    return Plot(figure, text=said)


# ── parts of the figures ──────────────────────────────────────────────────────────────────────────────────


def name_of(trace: Trace) -> str:
    """Return what the traced model is called."""
    return str(trace.meta.get("model", "trace"))


def kind_of(layout: HeadLayout) -> str:
    """Return in words what a layer may see, and whose keys it uses."""
    words = layout.kind if layout.window is None else f"{layout.kind}, window {layout.window:,}"
    return words if layout.kv_shared_from is None else f"{words}, keys of layer {layout.kv_shared_from}"


def sharing(attention: Attention) -> str:
    """Return in words which layers reuse the keys of others, or nothing."""
    shared = attention.kv_shared_layers
    if not shared:
        return ""
    donors = " and ".join(str(kv_shared_from) for kv_shared_from in sorted(set(shared.values())))
    return f"; {min(shared)} to {max(shared)} reuse the keys of {donors}"


def tile_of(attention: Attention) -> int:
    """Return the pixels of one head among all."""
    return _SMALL if len(attention.layers) * len(attention.heads) <= _MANY else _SMALLER


def sheet_of(attention: Attention) -> NDArray[np.uint8]:
    """Return all heads as one picture, a column a layer, the first token's share as a strip beside each."""
    columns, size = [], tile_of(attention)
    for layout in attention.layers:
        maps, sink = without_sink(attention, layout.layer)
        small = pool_maps(maps, attention.bin_edges, most=size - 5)
        tiles = [_tile(one, float(share.mean()), size) for one, share in zip(small, sink, strict=True)]
        columns.append(np.concatenate(tiles))
    return np.concatenate(columns, axis=1)


def _tile(one: NDArray[np.float32], first: float, size: int) -> NDArray[np.uint8]:
    side = size - 5
    at = np.arange(side) * len(one) // side
    tile = np.full((size, size, 3), 255, dtype=np.uint8)
    tile[2 : side + 2, 4 : side + 4] = amounts(np.clip(one / scale_max(one), 0, 1))[at][:, at]
    tall = round(side * first)
    tile[2 : side + 2, 1:3] = (225, 228, 232)
    tile[side + 2 - tall : side + 2, 1:3] = (230, 159, 0)
    return tile


def drawn(trace: Trace, patches: NDArray[np.intp], weights: NDArray[np.float32], image: int) -> Image:
    """Return a picture of the prompt, or a grey sheet, with its patches tinted by weights."""
    from PIL import Image as Pictures
    from PIL import ImageDraw

    boxes = trace.tokens.boxes[patches]
    known = image < len(trace.images)
    size = trace.images[image].size if known else (int(boxes[:, 2].max()), int(boxes[:, 3].max()))
    factor = _LONGEST / max(size)
    shown = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    base = (
        trace.images[image].convert("RGB").resize(shown) if known else Pictures.new("RGB", shown, "#d5d8dd")
    )
    veil = Pictures.new("RGBA", shown, (0, 0, 0, 0))
    pen = ImageDraw.Draw(veil)
    tints = amounts(weights / (float(weights.max(initial=0.0)) or 1.0)).tolist()
    for box, tint, weight in zip(boxes, tints, weights, strict=True):
        left, top, right, bottom = (round(float(side) * factor) for side in box)
        fill = (*tint, 191) if weight > 0 else (255, 255, 255, 150)
        pen.rectangle((left, top, max(left, right - 2), max(top, bottom - 2)), fill=fill)
    return Pictures.alpha_composite(base.convert("RGBA"), veil).convert("RGB")


def _name_edges(
    trace: Trace, attention: Attention, strip: Any, axes: Any, *, named: bool, edges: Any
) -> None:
    if named:
        names = [label_of(trace, token)[:14] for token in range(len(attention))]
        shown = [name if writable(name) else f"token {token}" for token, name in enumerate(names)]
        style = {"fontsize": 7, "fontfamily": list(families())}
        strip.set_yticks(np.arange(len(shown)), shown, **style)
        axes.set_xticks(np.arange(len(shown)), shown, rotation=90, **style)
    else:
        at = np.unique(np.linspace(0, attention.bins - 1, 5).round().astype(int))
        strip.set_yticks(at, [f"{edge:,}" for edge in edges[at]])
        axes.set_xticks(at, [f"{edge:,}" for edge in edges[at]])
    axes.tick_params(length=0, colors=INK)


def _scale(figure: Any, axes: Any, top: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    shades = ListedColormap(amounts(np.linspace(0.001, 1, 128)) / 255.0)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, top), shades), ax=axes, fraction=0.035, pad=0.01, extend="max"
    )
    bar.set_label("share of a row")
    bar.outline.set_visible(False)
