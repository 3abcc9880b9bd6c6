"""One head of a trace as script-free HTML: what a notebook keeps of the attention explorer."""

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
from ..base.colors import data_url, heat
from ..base.html import Markup, bdi, escape, footnotes, table
from ..chat.chat import visible
from ..trace.tokens import label_of
from .figures import attention_text, drawn, kind_of, name_of, sharing, sheet_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trace.records.attention import Attention
    from ...trace.trace import Trace

#: A twin shows so many tokens one by one; more are counted, and stand in the pictures.
MOST_TOKENS = 400
_CARD = "background:#fff;padding:6px;border-radius:6px;max-width:100%;height:auto;image-rendering:pixelated"
_TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.7;margin:.25em 0"
_CHIP = (
    "font:11px monospace;opacity:.65;border:1px solid rgba(127,127,127,.4);border-radius:4px;padding:0 .2em"
)
_SOFT = ("image", "video", "audio")


def attention_html(trace: Trace, *, layer: int, head: int, tokens: Sequence[int] = ()) -> Markup:
    """Return one head of a trace as script-free HTML, all heads as a picture, and where tokens look.

    Parameters
    ----------
    trace
        With attention maps.
    layer, head
        The model's layer and its query head.
    tokens
        Whose heaviest keys are listed; the last six tokens when there are none.

    Returns
    -------
    Markup
        At most some 200 kB, however long the trace is.
    """
    attention = require_attention_maps(trace)
    layout = attention.layout(layer)
    line = attention_text(trace, layer=layer, head=head)
    read = list(tokens) or list(range(max(0, len(trace.tokens) - 6), len(trace.tokens)))
    return Markup(
        f'<div role="group" aria-label="{escape(line)}" style="max-width:64em">'
        f'<div style="font-weight:600;padding:.25em 0">{bdi(visible(name_of(trace)))}: '
        f"layer {layer}, head {head} ({escape(kind_of(layout))})</div>"
        f"{_spoken(trace, layer, head, read[-1])}{_pictures(trace, layer, head, read[-1])}"
        f"{_map_image(attention, layer, head)}{_heads_image(attention, layer)}"
        f"{_looks_table(trace, layer, head, read[-12:])}</div>"
    )


def _heads_image(attention: Attention, layer: int) -> str:
    from PIL import Image as Pictures

    kinds = "".join("G" if one.kind == "global" else "L" for one in attention.layers)
    text = (
        f"All layers ({attention.layers[0].layer} to {attention.layers[-1].layer}, across; L local, "
        f"G global: {kinds}{sharing(attention)}) × heads (down), each on its own scale; "
        f"orange: mean share on the first token. "
        f"Layer {layer} is above"
    )
    return _figure(data_url(Pictures.fromarray(sheet_of(attention))), text)


def _map_image(attention: Attention, layer: int, head: int) -> str:
    maps, sink = without_sink(attention, layer)
    at = head_index(attention, head)
    top = scale_max(maps[at])
    first = float(sink[at, 1:].mean()) if sink.shape[1] > 1 else 1.0
    cell = max(2, 384 // attention.bins)
    picture = heat(maps[at] / top, cell=(cell, cell))
    text = (
        f"Layer {layer}, head {head}: queries (down) × keys (across), 0 (pale) to {top:.2g} or more (dark); "
        f"{describe_pooling(attention)}; the first token, {first:.0%} on average, left out"
    )
    return _figure(data_url(picture), text)


def _figure(address: str, text: str) -> str:
    return (
        f'<figure style="margin:.6em 0"><img src="{address}" alt="{escape(text)}" style="{_CARD}">'
        f'<figcaption style="font-size:.85em;opacity:.8">{escape(text)}</figcaption></figure>'
    )


def _spoken(trace: Trace, layer: int, head: int, query: int) -> str:
    """Return the text tinted by where one token looks; soft tokens as one mark a run."""
    weights, how = attention_row(trace, layer=layer, query=query, head=head)
    top = float(np.delete(weights, 0).max(initial=0.0)) or 1.0
    parts, tokens, at = [], trace.tokens, max(0, query + 1 - MOST_TOKENS)
    before = f"<div>{at:,} earlier tokens are in the picture below …</div>" if at else ""
    end = min(len(tokens), at + MOST_TOKENS)
    while at < end:
        kind = tokens.modalities[at]
        stop = at + 1
        if kind in _SOFT:
            while stop < len(tokens) and tokens.modalities[stop] == kind:
                stop += 1
            parts.append(f'<bdi style="{_CHIP}">{kind} × {stop - at:,}: {weights[at:stop].sum():.1%}</bdi>')
        else:
            parts.append(
                _token(trace, at, float(weights[at]), min(1.0, float(weights[at]) / top), at == query)
            )
        at = stop
    said = (
        f"Tint: where token {query:,}, {label_of(trace, query)}, looks ({how}), "
        "the first token on a scale of its own."
    )
    return f'{before}<div dir="auto" style="{_TEXT}">{"".join(parts)}</div>{footnotes([said])}'


def _token(trace: Trace, at: int, weight: float, tint: float, read: bool) -> str:
    text, kind = str(trace.tokens.texts[at]), trace.tokens.modalities[at]
    if kind == "special" and not text:
        piece = visible(str(trace.tokens.pieces[at]))
        return f'<bdi dir="ltr" title="{weight:.2%}" style="{_CHIP}">{escape(piece)}</bdi>'
    if not text:
        return ""
    ring = ";outline:1.5px solid #0072B2" if read else ""
    shade = f"background-color:rgba(230,159,0,{0.6 * tint:.1f}){ring}"
    return f'<span title="{weight:.2%}" style="{shade}">{escape(visible(text))}</span>'


def _pictures(trace: Trace, layer: int, head: int, query: int) -> str:
    weights, how = attention_row(trace, layer=layer, query=query, head=head)
    parts = []
    for image in range(min(4, len(trace.images))):
        patches = image_patches(trace, image)
        text = escape(
            f"picture {image + 1}: {weights[patches].sum():.1%} of the row of token {query:,} ({how})"
        )
        address = data_url(drawn(trace, patches, weights[patches], image))
        parts.append(
            f'<figure style="display:inline-block;margin:.5em 1em .5em 0"><img alt="{text}" '
            f'style="max-width:300px;border-radius:6px" src="{address}">'
            f'<figcaption style="font-size:.85em;opacity:.8;max-width:300px">{text}</figcaption></figure>'
        )
    return "".join(parts)


def _looks_table(trace: Trace, layer: int, head: int, read: Sequence[int]) -> Markup:
    rows = []
    for query in read:
        weights, how = attention_row(trace, layer=layer, query=query, head=head)
        order = np.argsort(-weights, kind="stable")[:5]
        looks = Markup(
            " · ".join(
                f"{bdi(label_of(trace, key))} {weights[key]:.1%}"
                for key in order.tolist()
                if weights[key] > 0
            )
        )
        rows.append((f"{query:,}", bdi(label_of(trace, query)), looks, how))
    return table(
        rows, columns=("token", "text", "looks at", "known"), align="rlll",
        caption=f"Where tokens look in layer {layer}, head {head}",
    )  # fmt: skip
