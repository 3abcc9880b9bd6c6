"""One question with its right answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Clip:
    """A video: its frames, and how many there are a second.

    Attributes
    ----------
    frames
        PIL pictures of one size.
    fps
        Frames a second.
    """

    frames: tuple[Any, ...]
    fps: float

    @property
    def times(self) -> tuple[float, ...]:
        """When each frame is shown, in seconds from the start."""
        return tuple(number / self.fps for number in range(len(self.frames)))


@dataclass(frozen=True, eq=False)
class Question:
    """A question as a person would put it, and the answer that is right.

    Attributes
    ----------
    skill
        Which skill it tests, a key of `gemma_lab.minis.tasks.SKILLS`.
    prompt, answer
        The question and the one right answer; the answer is empty when a tool is to be called.
    images
        PIL pictures to look at, in order.
    video
        A clip to watch, or None.
    audio
        A sound to hear, float32 mono at 16 kHz, -1 to 1, or None.
    group
        What accuracy is broken down by, such as the language's code.
    more
        Further (prompt, answer) pairs about the same text, for training in one conversation.
    system
        The system prompt, or None.
    thinking, thought
        Whether it is asked with thinking on, and the steps that training puts into the thought.
    tools
        Declared functions, ``{"type": "function", "function": {"name", "description", "parameters"}}``.
    call
        The call that is right, ``{"name": …, "arguments": {…}}``, or None when none is.
    history
        Messages between the prompt and the answer: a call by the model and its result.
    schema
        The JSON schema that the answer follows, or None when it is plain text.
    news
        Soft tokens a side -> what is new at each soft token of its pictures or frames, in order, since the
        one before (`gemma_lab.minis.tasks.cells`); for training, None where it is not known.
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
    news: Callable[[int], list[int]] | None = None


def held_out(key: str, *, share: float = 0.15) -> bool:
    """Return whether a key belongs to the held-out share: decided by its hash, so the split never moves."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") < share * 2**32
