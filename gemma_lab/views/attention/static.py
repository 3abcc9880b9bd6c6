"""One attention head of a trace as script-free HTML: the static fallback of the attention explorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...analysis.attention.rows import (
    attention_row,
    describe_pooling,
    head_index,
    image_patches,
    require_attention_maps,
    scale_max,
    without_sink,
)
from ..base.colors import heat_image, png_data_url
from ..base.html import CHIP, TEXT, Markup, bdi, figure, footnotes, group, heading, join, table, tag
from ..base.text import visible
from ..base.tokens import MEDIA, model_name, token_label
from .figures import (
    all_heads_image,
    attention_text,
    describe_kv_sharing,
    describe_layer,
    draw_image_attention,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace

#: Tokens shown one by one; earlier ones are counted, and are part of the maps.
MAX_TOKENS = 400
_MAX_IMAGES, _MAX_ROWS, _MAX_KEYS = 4, 12, 5


def attention_html(trace: Trace, *, layer: int, head: int, tokens: Sequence[int] = ()) -> Markup:
    """Return one head of a trace as script-free HTML, with all heads as an image.

    Parameters
    ----------
    trace
        With attention maps.
    layer, head
        The model's layer and its query head.
    tokens
        Queries whose top keys are listed. Default: the last six tokens.

    Returns
    -------
    Markup
        At most about 200 kB, however long the trace is.
    """
    attention = require_attention_maps(trace)
    queries = list(tokens) or list(range(max(0, len(trace.tokens) - 6), len(trace.tokens)))
    return group(
        attention_text(trace, layer=layer, head=head),
        heading(
            bdi(visible(model_name(trace))),
            f": layer {layer}, head {head} ({describe_layer(attention.layout(layer))})",
        ),
        _tinted_text(trace, layer, head, queries[-1]),
        _images(trace, layer, head, queries[-1]),
        _map_image(attention, layer, head),
        _heads_image(attention, layer),
        _top_keys_table(trace, layer, head, queries[-_MAX_ROWS:]),
    )


def attention_record_html(attention: Attention) -> Markup:
    """Return an attention record: its summary, and all heads as an image if maps were recorded."""
    summary = repr(attention).removeprefix("Attention(").removesuffix(")")
    image = _heads_image(attention) if attention.bands else ""
    return group(summary, heading("Attention: ", summary), image)


def _heads_image(attention: Attention, layer: int | None = None) -> Markup:
    from PIL import Image

    kinds = "".join("G" if layout.kind == "global" else "L" for layout in attention.layers)
    return figure(
        png_data_url(Image.fromarray(all_heads_image(attention))),
        f"All layers ({attention.layers[0].layer} to {attention.layers[-1].layer}, across; L local, "
        f"G global: {kinds}{describe_kv_sharing(attention)}) × heads (down), each on its own scale; orange: "
        f"mean attention to the first token.{f' Layer {layer} is shown above.' if layer is not None else ''}",
    )


def _map_image(attention: Attention, layer: int, head: int) -> Markup:
    maps, sink = without_sink(attention, layer)
    index = head_index(attention, head)
    top = scale_max(maps[index])
    first = float(sink[index, 1:].mean()) if sink.shape[1] > 1 else 1.0
    cell = max(2, 384 // attention.bins)
    return figure(
        png_data_url(heat_image(maps[index] / top, cell=(cell, cell))),
        f"Layer {layer}, head {head}: queries (down) × keys (across), 0 (pale) to {top:.2g} or more (dark); "
        f"{describe_pooling(attention)}; the first token, {first:.0%} on average, left out",
    )


def _tinted_text(trace: Trace, layer: int, head: int, query: int) -> Markup:
    """Return the text tinted by the attention of one query; a run of soft tokens is one mark."""
    weights, precision = attention_row(trace, layer=layer, query=query, head=head)
    top = float(np.delete(weights, 0).max(initial=0.0)) or 1.0
    parts: list[Markup] = []
    tokens, row = trace.tokens, max(0, query + 1 - MAX_TOKENS)
    earlier = tag("div", f"{row:,} earlier tokens are part of the image below …") if row else ""
    end = min(len(tokens), row + MAX_TOKENS)
    while row < end:
        modality, stop = tokens.modalities[row], row + 1
        if modality in MEDIA:
            while stop < len(tokens) and tokens.modalities[stop] == modality:
                stop += 1
            label = f"{modality} × {stop - row:,}: {weights[row:stop].sum():.1%}"
            parts.append(tag("bdi", label, style=CHIP))
        else:
            weight = float(weights[row])
            parts.append(_token(trace, row, weight, min(1.0, weight / top), is_query=row == query))
        row = stop
    legend = (
        f"Tint: attention of token {query:,}, {token_label(trace, query)} ({precision}); the first token has "
        "a separate scale."
    )
    return join([earlier, tag("div", *parts, dir="auto", style=TEXT), footnotes([legend])])


def _token(trace: Trace, row: int, weight: float, tint: float, *, is_query: bool) -> Markup:
    text = str(trace.tokens.texts[row])
    if trace.tokens.modalities[row] == "special" and not text:
        piece = visible(str(trace.tokens.pieces[row]))
        return tag("bdi", piece, dir="ltr", title=f"{weight:.2%}", style=CHIP)
    if not text:
        return Markup("")
    outline = ";outline:1.5px solid #0072B2" if is_query else ""
    style = f"background-color:rgba(230,159,0,{0.6 * tint:.1f}){outline}"
    return tag("span", visible(text), title=f"{weight:.2%}", style=style)


def _images(trace: Trace, layer: int, head: int, query: int) -> Markup:
    weights, precision = attention_row(trace, layer=layer, query=query, head=head)
    figures = []
    for image in range(min(_MAX_IMAGES, len(trace.images))):
        patches = image_patches(trace, image)
        share = f"{weights[patches].sum():.1%} of the attention of token {query:,} ({precision})"
        caption = f"image {image + 1}: {share}"
        address = png_data_url(draw_image_attention(trace, patches, weights[patches], image))
        figures.append(figure(address, caption, width=300))
    return join(figures)


def _top_keys_table(trace: Trace, layer: int, head: int, queries: Sequence[int]) -> Markup:
    rows = []
    for query in queries:
        weights, precision = attention_row(trace, layer=layer, query=query, head=head)
        keys = [key for key in np.argsort(-weights, kind="stable")[:_MAX_KEYS].tolist() if weights[key] > 0]
        listed = [join([bdi(token_label(trace, key)), f" {weights[key]:.1%}"]) for key in keys]
        rows.append((f"{query:,}", bdi(token_label(trace, query)), join(listed, " · "), precision))
    return table(
        rows,
        columns=("token", "text", "attends to", "precision"),
        align="rlll",
        caption=f"Top keys in layer {layer}, head {head}",
    )
