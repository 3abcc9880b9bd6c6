"""Media on their way in: pictures, videos and sounds, checked before a model sees them."""

from __future__ import annotations

from .audio import Sound, sound
from .images import picture
from .soft_tokens import BUDGETS, checked_budget
from .video import Video, video

__all__ = ["BUDGETS", "Sound", "Video", "checked_budget", "picture", "sound", "video"]
