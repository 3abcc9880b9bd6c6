"""Media on their way in: pictures, videos and sounds, checked before a model sees them."""

from __future__ import annotations

from .budgets import BUDGETS, checked_budget
from .pictures import picture
from .sounds import Sound, sound
from .videos import Video, video

__all__ = ["BUDGETS", "Sound", "Video", "checked_budget", "picture", "sound", "video"]
