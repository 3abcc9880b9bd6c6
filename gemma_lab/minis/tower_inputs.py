"""Inputs of the media encoders: images and frames as patches, sounds as mel frames."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from ..models.chat.media_tokens import audio_tokens


def patches(image: Any, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a square image as patches and their positions, in the layout of Gemma 4's image processor.

    Parameters
    ----------
    grid
        Soft tokens per side; each covers 3 × 3 patches of 16 × 16 pixels.

    Returns
    -------
    tuple
        Pixels in [0, 1], shape ``(9 * grid**2, 768)``, and (x, y) positions, shape ``(9 * grid**2, 2)``.
    """
    side = 3 * grid
    pixels = np.asarray(image.resize((16 * side, 16 * side), 3), dtype=np.float32) / 255
    cut = pixels.reshape(side, 16, side, 16, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, -1)
    y, x = np.divmod(np.arange(side * side), side)
    return torch.from_numpy(cut.copy()), torch.from_numpy(np.stack([x, y], -1))


def stacked_patches(images: list[Any], grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `patches` of several images of one size: ``(images, patches, …)``."""
    pixels, positions = zip(*(patches(image, grid) for image in images), strict=True)
    return torch.stack(pixels), torch.stack(positions)


def mel(sounds: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sounds at 16 kHz as log-mel frames of 10 ms, ``(sounds, frames, 128)``, and their mask."""
    out = _extractor()(sounds, return_tensors="pt", sampling_rate=16_000)
    return out["input_features"], out["input_features_mask"]


def soft_tokens(sound: Any) -> int:
    """Return the number of soft tokens of a sound: one per four frames of 10 ms."""
    return audio_tokens(_extractor(), len(sound))


@functools.cache
def _extractor() -> Any:
    from transformers import Gemma4AudioFeatureExtractor

    return Gemma4AudioFeatureExtractor()
