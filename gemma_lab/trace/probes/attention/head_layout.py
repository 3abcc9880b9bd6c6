"""Layout of the attention heads of each layer, read from the model's attention modules."""

from __future__ import annotations

from typing import Any

import torch

from ...records.attention import HeadLayout


def layout_of(layer: int, module: Any, query: torch.Tensor, key: torch.Tensor) -> HeadLayout:
    """Return the layout of a layer.

    Parameters
    ----------
    layer, module
        Its index and its attention module.
    query, key
        ``[batch, heads, queries, dim]`` and ``[batch, kv_heads, keys, dim]``, as it uses them.
    """
    window = getattr(module, "sliding_window", None)
    return HeadLayout(
        layer=layer,
        kind="global" if window is None else "local",
        window=None if window is None else int(window),
        heads=query.shape[1],
        kv_heads=key.shape[1],
        head_dim=query.shape[3],
        kv_shared_from=_donor(layer, module),
        k_eq_v=bool(getattr(module, "use_alternative_attention", False)),
    )


def _donor(layer: int, module: Any) -> int | None:
    """Return the layer whose keys and values a KV-shared layer reuses: the last one of its kind."""
    if not getattr(module, "is_kv_shared_layer", False):
        return None
    kinds = list(module.config.layer_types)
    own = range(len(kinds) - int(module.config.num_kv_shared_layers))
    return max(other for other in own if kinds[other] == kinds[layer])
