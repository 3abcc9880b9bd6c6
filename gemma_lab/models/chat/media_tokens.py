"""Soft tokens of media, computed from their size or length by the processors' own rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..media.soft_tokens import soft_tokens

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..loading.loaded_model import LoadedModel
    from ..media import Audio, Video


@dataclass(frozen=True)
class MediaTokens:
    """One medium of a prompt and its soft tokens.

    Attributes
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    size
        Its size or length, in words.
    tokens
        Its soft tokens; the marks and timestamps around them count as text.
    """

    kind: str
    size: str
    tokens: int


def count_media_tokens(
    model: LoadedModel, kind: str, medium: Any, max_soft_tokens: int | None
) -> MediaTokens:
    """Return the soft tokens of an opened medium; nothing is encoded.

    Parameters
    ----------
    model
        The model with its processor.
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    medium
        A PIL image, a `Video` or an `Audio`.
    max_soft_tokens
        Limit for an image and for a frame of a video; None for the processor's own.
    """
    if kind == "image":
        return _image(model, medium, max_soft_tokens)
    return _video(model, medium, max_soft_tokens) if kind == "video" else _audio(model, medium)


def _image(model: LoadedModel, image: Image, max_soft_tokens: int | None) -> MediaTokens:
    width, height = image.size
    tokens = _visual(model.processor.image_processor, (width, height), max_soft_tokens)
    return MediaTokens("image", f"{width:,} × {height:,} pixels", tokens)


def _video(model: LoadedModel, video: Video, max_soft_tokens: int | None) -> MediaTokens:
    tokens = _visual(model.processor.video_processor, video.size, max_soft_tokens)
    frames = len(video.frames)
    return MediaTokens(
        "video", f"{frames:,} frame{'' if frames == 1 else 's'} of {tokens:,}", frames * tokens
    )


def _audio(model: LoadedModel, audio: Audio) -> MediaTokens:
    tokens = audio_tokens(model.processor.feature_extractor, len(audio.samples))
    return MediaTokens("audio", f"{audio.seconds:.2f} s", tokens)


def _visual(processor: Any, size: tuple[int, int], max_soft_tokens: int | None) -> int:
    return soft_tokens(
        size,
        max_soft_tokens=max_soft_tokens or processor.max_soft_tokens,
        patch=processor.patch_size,
        pooling=processor.pooling_kernel_size,
    )


def audio_tokens(extractor: Any, samples: int) -> int:
    """Return the soft tokens of a sound.

    Parameters
    ----------
    extractor
        The processor's feature extractor: of mel frames (E2B, E4B) or of the waveform itself (12B).
    samples
        At 16 kHz.

    Notes
    -----
    A mel frame counts if its window, which begins half a window before the sound, ends within it
    (``Gemma4AudioFeatureExtractor``); two convolutions of stride 2 then halve their number twice, rounded up.
    The 12B takes blocks of 640 samples, the last one padded.
    """
    hop = getattr(extractor, "hop_length", None)
    if hop is None:
        return math.ceil(samples / int(extractor.audio_samples_per_token))
    length = int(extractor.frame_length)
    frames = max(0, math.ceil((samples + length // 2 - length) / int(hop)))
    return math.ceil(math.ceil(frames / 2) / 2)
