"""Media as a mini's encoders, or its decoder without encoders, take them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..models.chat.media_tokens import audio_tokens

SAMPLES = 640
"""Samples at 16 kHz, 40 ms, of one soft token of a sound without an encoder."""


@dataclass(frozen=True)
class MediaInputs:
    """The inputs that a kind of Gemma 4 model takes for media.

    Attributes
    ----------
    images
        ``(images, grid) -> (pixels, positions)``, each ``(images, patches, …)``.
    sounds
        ``(sounds) -> (features, mask)``, each ``(sounds, frames, …)``.
    soft_tokens
        Number of soft tokens of a sound.
    """

    images: Callable[[list[Any], int], tuple[torch.Tensor, torch.Tensor]]
    sounds: Callable[[list[Any]], tuple[torch.Tensor, torch.Tensor]]
    soft_tokens: Callable[[Any], int]


def patches(image: Any, grid: int, *, per_side: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a square image as patches and their positions, in the layout of Gemma 4's image processors.

    Parameters
    ----------
    grid
        Soft tokens per side, of 48 × 48 pixels each.
    per_side
        Patches per side of a soft token: 3, of 16 × 16 pixels, for a vision encoder; 1 without one.

    Returns
    -------
    tuple
        Pixels in [0, 1], shape ``((per_side * grid)**2, 3 * (48 / per_side)**2)``, and (x, y) positions,
        shape ``((per_side * grid)**2, 2)``.
    """
    side, size = per_side * grid, 48 // per_side
    pixels = np.asarray(image.resize((size * side, size * side), 3), dtype=np.float32) / 255
    cut = pixels.reshape(side, size, side, size, 3).transpose(0, 2, 1, 3, 4).reshape(side * side, -1)
    y, x = np.divmod(np.arange(side * side), side)
    return torch.from_numpy(cut.copy()), torch.from_numpy(np.stack([x, y], -1))


def stacked_patches(images: list[Any], grid: int, *, per_side: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `patches` of several images of one size: ``(images, patches, …)``."""
    pixels, positions = zip(*(patches(image, grid, per_side=per_side) for image in images), strict=True)
    return torch.stack(pixels), torch.stack(positions)


def mel(sounds: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sounds at 16 kHz as log-mel frames of 10 ms, ``(sounds, frames, 128)``, and their mask."""
    return _features(_mel_extractor(), sounds)


def waveform_frames(sounds: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sounds at 16 kHz as frames of raw samples, ``(sounds, frames, 640)``, and their mask."""
    return _features(_frame_extractor(), sounds)


def encoded_soft_tokens(sound: Any) -> int:
    """Return the number of soft tokens of a sound with an encoder: one per four frames of 10 ms."""
    return audio_tokens(_mel_extractor(), len(sound))


def raw_soft_tokens(sound: Any) -> int:
    """Return the number of soft tokens of a sound without an encoder: one per `SAMPLES` samples."""
    return math.ceil(len(sound) / SAMPLES)


def _features(extractor: Any, sounds: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    out = extractor(sounds, return_tensors="pt", sampling_rate=16_000)
    return out["input_features"], out["input_features_mask"]


@functools.cache
def _mel_extractor() -> Any:
    from transformers import Gemma4AudioFeatureExtractor

    return Gemma4AudioFeatureExtractor()


@functools.cache
def _frame_extractor() -> Any:
    from transformers import Gemma4UnifiedAudioFeatureExtractor

    return Gemma4UnifiedAudioFeatureExtractor()


ENCODED = MediaInputs(stacked_patches, mel, encoded_soft_tokens)
"""For models with a vision encoder, and an audio encoder if they have audio input."""
RAW = MediaInputs(functools.partial(stacked_patches, per_side=1), waveform_frames, raw_soft_tokens)
"""For models without encoders: raw patches and raw samples."""
