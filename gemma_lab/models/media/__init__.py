"""Media on their way in: pictures, videos and sounds, checked before a model sees them."""

from __future__ import annotations

from .audio import Audio, load_audio
from .images import load_image
from .soft_tokens import SOFT_TOKEN_LIMITS, check_max_soft_tokens
from .video import Video, load_video

__all__ = ["SOFT_TOKEN_LIMITS", "Audio", "Video", "check_max_soft_tokens", "load_audio", "load_image", "load_video"]
