"""One question with its right answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Clip:
    """A video: its frames and their rate.

    Attributes
    ----------
    frames
        PIL images of one size.
    fps
        Frames per second.
    """

    frames: tuple[Any, ...]
    fps: float

    @property
    def times(self) -> tuple[float, ...]:
        """Time of each frame, in seconds from the start."""
        return tuple(number / self.fps for number in range(len(self.frames)))


@dataclass(frozen=True, eq=False)
class Question:
    """A question in everyday language, and its right answer.

    Attributes
    ----------
    skill
        The tested skill, a key of `gemma_lab.minis.tasks.SKILLS`.
    prompt, answer
        The question and the one right answer; the answer is empty when a tool is to be called.
    images
        PIL images, in order.
    video
        A clip, or None.
    audio
        A sound, float32 mono at 16 kHz, -1 to 1, or None.
    group
        What accuracy is broken down by, e.g. the language's code.
    more
        Further (prompt, answer) pairs about the same text, for training in one conversation.
    system
        The system prompt, or None.
    thinking, thought
        Whether thinking is on, and the steps that training puts into the thought.
    tools
        Declared functions, ``{"type": "function", "function": {"name", "description", "parameters"}}``.
    call
        The right call, ``{"name": …, "arguments": {…}}``, or None if there is none.
    history
        Messages between the prompt and the answer: a call by the model and its result.
    schema
        JSON schema of the answer, or None for plain text.
    soft_tokens
        Limit of soft tokens per image with which the check-up asks, or None for the model's own. Training
        draws the number of soft tokens for each step.
    news
        Soft tokens per side → change at each soft token of its images or frames since the previous one
        (`gemma_lab.minis.tasks.cells`), in order; for training, None where unknown.
    pictures
        What can be said about each image or frame as a whole, as kind → class
        (`gemma_lab.minis.picture_probe`), in order; for training, empty where nothing is known.
    """

    skill: str
    prompt: str
    answer: str
    images: tuple[Any, ...] = ()
    video: Clip | None = None
    audio: Any = None
    group: str = ""
    more: tuple[tuple[str, str], ...] = ()
    system: str | None = None
    thinking: bool = False
    thought: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    call: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()
    schema: dict[str, Any] | None = None
    soft_tokens: int | None = None
    news: Callable[[int], list[int]] | None = None
    pictures: tuple[dict[str, int], ...] = ()


def held_out(key: str, *, share: float = 0.15) -> bool:
    """Return whether a key belongs to the held-out fraction; it is decided by hash, so the split is fixed."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
