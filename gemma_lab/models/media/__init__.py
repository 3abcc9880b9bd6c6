"""Media: images, videos and sounds, checked before a model takes them."""

from __future__ import annotations

from .audio import Audio, audio_seconds, load_audio
from .images import image_size, load_image
from .soft_tokens import SOFT_TOKEN_LIMITS, check_max_soft_tokens
from .video import Video, VideoShape, load_video, video_shape

__all__ = [
    "SOFT_TOKEN_LIMITS",
    "Audio",
    "Video",
    "VideoShape",
    "audio_seconds",
    "check_max_soft_tokens",
    "image_size",
    "load_audio",
    "load_image",
    "load_video",
    "video_shape",
]
