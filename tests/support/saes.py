"""Sparse autoencoders with known weights, and what their published formulas give, in NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from gemma_lab.models.sparse_autoencoders.sae import SparseAutoencoder


def parts(width: int = 8, features: int = 24, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return W_enc, b_enc, W_dec and b_dec of sae_lens' layout."""
    drawn = torch.Generator().manual_seed(seed)
    return {
        "W_enc": torch.randn(width, features, generator=drawn),
        "b_enc": 0.3 * torch.randn(features, generator=drawn),
        "W_dec": torch.randn(features, width, generator=drawn),
        "b_dec": torch.randn(width, generator=drawn),
    }


def write(folder: Path, config: dict[str, Any] | None, tensors: dict[str, Any], name: str) -> Path:
    """Write an SAE's files and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "cfg.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    return folder


def topk(width: int, layer: int, *, features: int = 32, k: int = 4, seed: int = 0, **more: Any):
    """Return a TopK SAE of random weights."""
    made = parts(width, features, seed=seed)
    return SparseAutoencoder(
        layer=layer, encoder=made["W_enc"], encoder_bias=made["b_enc"], decoder=made["W_dec"],
        decoder_bias=made["b_dec"], activation="topk", k=k, **({"min_variance_explained": -1e9} | more),
    )  # fmt: skip


def perfect(width: int, layer: int, **more: Any) -> SparseAutoencoder:
    """Return an SAE that rebuilds everything: a feature per axis and direction."""
    eye = torch.eye(width)
    return SparseAutoencoder(
        layer=layer, encoder=torch.cat([eye, -eye], dim=1), encoder_bias=torch.zeros(2 * width),
        decoder=torch.cat([eye, -eye]), decoder_bias=torch.zeros(width), activation="relu", **more,
    )  # fmt: skip


def activations(rows, tensors, *, k=None, threshold=None, subtract=True) -> np.ndarray:
    """Return feature activations of rows, by the formula."""
    array = {name: value.double().numpy() for name, value in tensors.items()}
    before = (np.asarray(rows, float) - subtract * array["b_dec"]) @ array["W_enc"] + array["b_enc"]
    after = np.maximum(before, 0)
    if threshold is not None:
        return after * (before > np.asarray(threshold))
    if k is not None:
        kept = np.argsort(-after, axis=1)[:, :k]
        mask = np.zeros(after.shape, bool)
        np.put_along_axis(mask, kept, True, axis=1)
        return after * mask
    return after
