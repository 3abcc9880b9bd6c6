"""Loading: from a name to a `Lab`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..data import data_path
from .lab import Lab

DEFAULT_MODEL = "mini-moe"


def load(
    name: str | Path | None = None,
    *,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: str | Path | None = None,
    quantization: Any = None,
    attn_implementation: str | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Lab:
    """Load a Gemma 4 from a folder or a mini by its name."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    name = name or os.environ.get("GEMMA_LAB_MODEL") or DEFAULT_MODEL
    folder = Path(name) if Path(name).is_dir() else data_path(f"minis/{name}")
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32 if dtype == "auto" else dtype, attn_implementation=attn_implementation
    )
    return Lab(model=model, processor=AutoProcessor.from_pretrained(folder), name=folder.name)
