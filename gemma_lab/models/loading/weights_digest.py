"""A digest of a decoder's weights, by which what was fitted to them is known to fit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Values of a matrix that go into the digest, evenly spaced.
_SAMPLE = 256
#: Norms and scalars are small and never quantised: all of their values.
_SMALL = re.compile(r"norm\w*(?:\.weight)?$|layer_scalar$|\.scale$|per_expert_scale$")
_DECODER = re.compile(r"(?:^|.*?\.)((?:layers\.\d+\.|embed_tokens|norm\.).*)$")


def weights_digest(model: torch.nn.Module) -> dict[str, str]:
    """Return digests of a model's text decoder, which every dtype and way of loading leaves alike.

    Parameters
    ----------
    model
        A model of transformers.

    Returns
    -------
    dict
        ``"norms"``: of all norms and scalars, the same for quantised weights; ``"matrices"``: of 256 evenly
        spaced values of every matrix, in bfloat16. Empty for what cannot be compared: matrices that are
        quantised, and all of a model whose weights accelerate keeps on disk.
    """
    from ..quantization.weight_bits import is_quantized

    decoder: Any = model.get_decoder() if hasattr(model, "get_decoder") else model  # type: ignore[operator]
    found: dict[str, torch.Tensor] = {}
    for name, value in (*decoder.named_parameters(), *decoder.named_buffers()):
        if ".lora_" in name:
            continue
        match = _DECODER.match(name.replace(".base_layer", ""))
        if match:
            found[match[1]] = value
    if any(value.device.type == "meta" for value in found.values()):
        return {"norms": "", "matrices": ""}
    small = {name: value for name, value in found.items() if _SMALL.search(name)}
    large = {} if is_quantized(model) else {name: v for name, v in found.items() if name not in small}
    return {"norms": _digest(small), "matrices": _digest(large) if large else ""}


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().reshape(-1)
        if not _SMALL.search(name):
            value = value[:: max(1, len(value) // _SAMPLE)]
        digest.update(f"{name} {len(value)} ".encode())
        digest.update(value.to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def same_weights(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether digests agree, as far as both are known."""
    return all(len({one.get(name, ""), other.get(name, "")} - {""}) <= 1 for name in ("norms", "matrices"))
