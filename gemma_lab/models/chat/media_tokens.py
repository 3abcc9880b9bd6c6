"""Soft tokens of media, computed from their size or length by the processors' own rules."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..media import audio_seconds, image_size, video_shape
from ..media.audio import SAMPLE_RATE
from ..media.soft_tokens import soft_tokens
from ..media.sources import is_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

    from ..loading.loaded_model import LoadedModel
    from ..media import Audio, Video

#: By how much a sound may be shorter than the packets of its file, in seconds.
_PACKETS = 0.1


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


def measure_media(
    model: LoadedModel, kind: str, source: Any, keywords: Mapping[str, Any], max_soft_tokens: int | None
) -> tuple[int, int]:
    """Return the soft tokens of a medium and the memory it takes from its header, without decoding it.

    Parameters
    ----------
    model, kind, max_soft_tokens
        As for `count_media_tokens`.
    source, keywords
        What `gemma_lab.load_image`, `load_video` or `load_audio` is called with.

    Returns
    -------
    tokens : int
        Exact for images, videos, arrays and WAV files; a lower bound for compressed sounds.
    memory : int
        Bytes of its pixels and of the patches that the processor makes of them, or of its samples.

    Raises
    ------
    BadMedia, MissingExtra
        If the header cannot be read.
    """
    if kind == "audio":
        seconds = audio_seconds(source, **keywords) - (_PACKETS if is_file(source) else 0)
        samples = max(0, int(seconds * SAMPLE_RATE))
        return audio_tokens(model.processor.feature_extractor, samples), 4 * samples
    if kind == "image":
        size, frames, processor = image_size(source), 1, model.processor.image_processor
    else:
        shape = video_shape(source, **keywords)
        size, frames, processor = shape.size, len(shape.times), model.processor.video_processor
    tokens = frames * _visual(processor, size, max_soft_tokens)
    side = processor.patch_size * processor.pooling_kernel_size
    return tokens, 3 * (frames * size[0] * size[1] + 4 * tokens * side**2)  # uint8, and float32


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
