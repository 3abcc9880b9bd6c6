"""Small vocabulary shared by all text tasks: people, things, places, filler sentences."""

from __future__ import annotations

import random

PEOPLE = (
    "Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gita", "Hugo", "Ines", "Jan", "Kira", "Leo",
    "Mona", "Nils", "Olga", "Paul", "Rosa", "Sami", "Tara", "Udo", "Vera", "Walid", "Xenia", "Yuki",
    "Zoe", "Amir", "Bela", "Carl", "Dina", "Emil",
)  # fmt: skip
THINGS = (
    "lemon", "apple", "drum", "key", "lamp", "map", "coin", "rope", "bell", "book", "cup", "hat",
    "ring", "shoe", "kite", "stone", "flute", "clock", "knife", "brush",
)  # fmt: skip
CITIES = (
    "Rome", "Paris", "Oslo", "Cairo", "Lima", "Delhi", "Tokyo", "Berlin", "Madrid", "Hanoi", "Quito", "Seoul",
    "Vienna", "Athens", "Dublin", "Lagos", "Tunis", "Prague", "Boston", "Sydney",
)  # fmt: skip
JOBS = (
    "baker", "pilot", "nurse", "cook", "farmer", "painter", "teacher", "doctor", "singer", "driver",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SUBJECTS = (
    "The river", "The old road", "The wind", "The market", "The garden", "A small dog", "The train",
    "The sea", "The school", "A white bird", "The house", "The long street", "The forest", "A green boat",
)  # fmt: skip
_STATES = (
    "was quiet", "looked new", "felt cold", "was full of people", "smelled of rain", "was open",
    "seemed far away", "lay in the sun", "was slow", "stayed dark", "made no sound", "was empty",
)  # fmt: skip
_TIMES = (
    "in the morning", "at night", "all day", "in winter", "that week", "after the storm", "before noon",
    "for a while", "in the end", "last summer", "every evening", "at first",
)  # fmt: skip


def joined(words: list[str]) -> str:
    """Join words into a list: ``"a"``, ``"a and b"``, ``"a, b and c"``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def filler(rng: random.Random) -> str:
    """Draw a sentence unrelated to any fact."""
    return f"{rng.choice(_SUBJECTS)} {rng.choice(_STATES)} {rng.choice(_TIMES)}."
