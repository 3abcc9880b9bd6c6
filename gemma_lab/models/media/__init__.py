"""Media on their way in: pictures, videos and sounds, checked before a model sees them."""

from __future__ import annotations

from .audio import Sound, load_audio
from .images import load_image
from .soft_tokens import BUDGETS, checked_budget
from .video import Video, load_video

__all__ = ["BUDGETS", "Sound", "Video", "checked_budget", "load_audio", "load_image", "load_video"]
