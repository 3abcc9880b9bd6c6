"""The handwritten digit in an image: scikit-learn's 1,797 real digits, enlarged and coloured.

Held out: a fifth of the digits, by hash.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Any

from .question import Question, held_out

LIMITS = (140, 280, 560)
"""Limits of soft tokens per image above the smallest, with which digits are asked for, too."""

_ASK = (
    "Which digit is in the picture?",
    "What digit do you see?",
    "Which number is written here?",
    "Read the digit in this picture.",
)


@functools.cache
def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


@functools.cache
def indices(held: bool) -> tuple[int, ...]:
    """Return the indices of scikit-learn's digits in the held-out part, or in the other."""
    return tuple(i for i in range(len(_digits()[1])) if held_out(f"digit {i}", share=0.2) == held)


def truth(index: int) -> int:
    """Return the class of one of scikit-learn's digits."""
    return int(_digits()[1][index])


def draw(index: int, rng: random.Random, *, size: int = 128) -> Any:
    """Draw one digit into a square RGB image; position, tilt, stretch and colours vary.

    Parameters
    ----------
    index
        Of scikit-learn's digits.
    size
        Side in pixels.
    """
    import numpy as np
    from PIL import Image

    ink = Image.fromarray(np.uint8(_digits()[0][index] * 255 / 16))
    wide, high = (int(size * rng.uniform(0.62, 0.95)) for _ in range(2))
    ink = ink.resize((wide, high), Image.Resampling.BICUBIC)
    ink = ink.rotate(rng.uniform(-12, 12), resample=Image.Resampling.BICUBIC)
    mask = Image.new("L", (size, size), 0)
    mask.paste(ink, (rng.randint(0, size - wide), rng.randint(0, size - high)))
    dark = tuple(rng.randint(0, 90) for _ in range(3))
    light = tuple(rng.randint(165, 255) for _ in range(3))
    paper, pen = (light, dark) if rng.random() < 0.5 else (dark, light)
    return Image.composite(Image.new("RGB", (size, size), pen), Image.new("RGB", (size, size), paper), mask)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw an image of a digit, held out or not, with its question."""
    index = rng.choice(indices(held))
    answer = str(_digits()[1][index])
    return Question(
        "digits", rng.choice(_ASK), answer, images=(draw(index, rng),), group=answer,
        pictures=({"digit": int(answer)},),
    )  # fmt: skip


def enlarged(rng: random.Random, held: bool) -> Question:
    """Draw an image of a digit that is to be read with more soft tokens; the limits are the groups."""
    question, limit = ask(rng, held), rng.choice(LIMITS)
    return dataclasses.replace(question, skill="large digits", group=str(limit), soft_tokens=limit)


def samples() -> dict[int, Any]:
    """Return digit → an image of its first held-out drawing; the images are the same every time."""
    first: dict[int, int] = {}
    for index in indices(True):
        first.setdefault(int(_digits()[1][index]), index)
    return {digit: draw(index, random.Random(digit), size=192) for digit, index in sorted(first.items())}


def corpus() -> list[str]:
    """Return the questions, for the tokenizer."""
    return list(_ASK) * 20
