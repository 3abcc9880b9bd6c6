"""Invented words, and words that no task is about: copied only by those who read them."""

from __future__ import annotations

import random

from .functions import FURTHER_WORDS

_INVENTED = 0.5  # share of such words that do not exist


def invented(rng: random.Random) -> str:
    """Return a word of two or three random syllables, e.g. ``"mopatil"``."""
    word = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 3)))
    return word + rng.choice(("", "n", "l", "r", "s", "k"))


def strange(rng: random.Random, *, name: bool) -> str:
    """Return an invented word or one of `FURTHER_WORDS`.

    Parameters
    ----------
    name
        Of a person or a place, with a capital letter; otherwise of a thing, without.
    """
    if rng.random() < _INVENTED:
        return invented(rng).capitalize() if name else invented(rng)
    return rng.choice(_NAMES if name else _WORDS)


_NAMES = tuple(word for word in FURTHER_WORDS if word[0].isupper())
_WORDS = tuple(word for word in FURTHER_WORDS if word[0].islower())
