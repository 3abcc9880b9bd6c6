"""The architecture, the parameters and the cache of a model as tables."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ...family.parameters import PARAMETER_GROUPS
from ...units import gib, tokens
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...family.architecture import Architecture, Layer
    from ...family.caches import KVCache
    from ...family.parameters import Parameters


def architecture_html(shape: Architecture) -> Markup:
    """Return an architecture as a table, a row per run of equal layers."""
    rows = []
    for key, run in groupby(shape.layers, key=_shape):
        layers = [layer.index for layer in run]
        span = str(layers[0]) if len(layers) == 1 else f"{layers[0]}–{layers[-1]}"
        rows.append((span, *key))
    columns = ("layers", "attention", "heads × dim", "key-value heads", "cache of layer", "experts")
    caption = repr(shape).removeprefix("Architecture(").removesuffix(")")
    return table(rows, columns=columns, caption=caption, align="llrrrr")


def parameters_html(data: Parameters) -> Markup:
    """Return parameter counts as a table, a row per group, with their sums."""
    rows = [(PARAMETER_GROUPS[part], f"{count:,}") for part, count in data.parts.items()]
    sums = {"total": data.total, "decoder": data.text, "effective": data.effective, "active": data.active}
    rows += [(name, f"{count:,}") for name, count in sums.items()]
    return table(rows, columns=("group", "parameters"), caption=f"Parameters of {data.name}", align="lr")


def kv_cache_html(data: KVCache) -> Markup:
    """Return the cache of one sequence, in bfloat16, at several lengths."""
    lengths = [2**power for power in range(10, 30, 2) if 2**power < data.context]
    rows = [(tokens(length), gib(data.bytes(length))) for length in (*lengths, data.context)]
    notes = [source.label for source in data.sources]
    return table(rows, columns=("tokens", "bytes"), caption=repr(data), align="rr", notes=notes)


def _shape(layer: Layer) -> tuple[str, ...]:
    return (
        layer.kind if layer.window is None else f"{layer.kind}, window {layer.window:,}",
        f"{layer.heads} × {layer.head_dim}",
        str(layer.kv_heads),
        "own" if layer.kv_shared_from is None else str(layer.kv_shared_from),
        f"{layer.experts} top-{layer.top_k}" if layer.experts else "none",
    )
