"""Which base model an adapter belongs to: a digest of weights that every way of loading leaves alike."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import torch

#: Norms and scalars of the decoder: small, never quantised, and changed by every further training.
_NAMES = re.compile(
    r"model\.(?:language_model\.)?((?:layers\.\d+\..*)?(?:norm\w*(?:\.weight)?|layer_scalar))$"
)


def base_digest(model: torch.nn.Module) -> str | None:
    """Return a digest of a model's norms, or None if accelerate keeps some of them on disk.

    They are compared in bfloat16, so that a checkpoint has one digest in every dtype, and with quantised
    weights. A text-only copy has that of the whole model.
    """
    found: dict[str, torch.Tensor] = {}
    tensors: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name, value in tensors.items():
        match = _NAMES.match(name.replace(".base_layer", ""))
        if match:
            found[match[1]] = value
    if not found or any(value.device.type == "meta" for value in found.values()):
        return None
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode())
        digest.update(
            found[name].detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        )
    return digest.hexdigest()


def tensors_digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of named tensors, float32."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
