"""The handwritten digit in an image: scikit-learn's 1,797 real digits, enlarged and coloured.

Held out: a fifth of the digits, by hash.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from typing import Any

from .question import Question, held_out
from .variation import varies

LIMITS = (140, 280, 560)
"""Limits of soft tokens per image above the smallest, with which digits are asked for, too."""

_SMALLEST_LARGEST = (0.3, 0.95)  # of the picture's side, in training
_TILT = 20  # degrees, at most, in training
_EACH = 0.5  # share of digits that vary with little contrast, and with noise
_CONTRAST = (50, 90)  # difference of the colours, of 255
_GRAIN = (3, 15)  # standard deviation of the noise, of 255
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


def draw(index: int, rng: random.Random, *, size: int = 128, fixed: bool = True) -> Any:
    """Draw one digit into a square RGB image; position, tilt, stretch and colours vary.

    A share of those of training is smaller, more tilted, of less contrast and noisy.

    Parameters
    ----------
    index
        Of scikit-learn's digits.
    size
        Side in pixels.
    fixed
        Draw as for the check-up.
    """
    import numpy as np
    from PIL import Image

    varied = varies(rng, fixed)
    ink = Image.fromarray(np.uint8(_digits()[0][index] * 255 / 16))
    wide, high = _sides(rng, size) if varied else (int(size * rng.uniform(0.62, 0.95)) for _ in range(2))
    tilt = _TILT if varied else 12
    ink = ink.resize((wide, high), Image.Resampling.BICUBIC)
    ink = ink.rotate(rng.uniform(-tilt, tilt), resample=Image.Resampling.BICUBIC)
    mask = Image.new("L", (size, size), 0)
    mask.paste(ink, (rng.randint(0, size - wide), rng.randint(0, size - high)))
    dark = tuple(rng.randint(0, 90) for _ in range(3))
    light = tuple(rng.randint(165, 255) for _ in range(3))
    if varied and rng.random() < _EACH:
        dark, light = _faint(rng)
    paper, pen = (light, dark) if rng.random() < 0.5 else (dark, light)
    pens, papers = (Image.new("RGB", (size, size), colour) for colour in (pen, paper))
    picture = Image.composite(pens, papers, mask)
    return _noisy(rng, picture) if varied and rng.random() < _EACH else picture


def _sides(rng: random.Random, size: int) -> tuple[int, int]:
    """Draw width and height of a digit that may be small, stretched by at most a quarter."""
    wide = rng.uniform(*_SMALLEST_LARGEST)
    high = min(max(wide * rng.uniform(0.8, 1.25), _SMALLEST_LARGEST[0]), _SMALLEST_LARGEST[1])
    return int(size * wide), int(size * high)


def _faint(rng: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draw a dark and a light colour of little contrast."""
    dark = [rng.randint(20, 180) for _ in range(3)]
    contrast = rng.randint(*_CONTRAST)
    return tuple(dark), tuple(min(255, part + contrast) for part in dark)


def _noisy(rng: random.Random, picture: Any) -> Any:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal((*picture.size, 3))
    return Image.fromarray(np.uint8(np.clip(np.asarray(picture) + rng.uniform(*_GRAIN) * noise, 0, 255)))


def ask(rng: random.Random, held: bool) -> Question:
    """Draw an image of a digit, held out or not, with its question."""
    index = rng.choice(indices(held))
    answer = str(_digits()[1][index])
    return Question(
        "digits", rng.choice(_ASK), answer, images=(draw(index, rng, fixed=held),), group=answer,
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
