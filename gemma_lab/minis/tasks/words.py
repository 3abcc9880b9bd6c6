"""The few words that the text tasks share, people, things and places: one small vocabulary serves all."""

from __future__ import annotations

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


def joined(words: list[str]) -> str:
    """Return words as one list in words: ``"a"``, ``"a and b"``, ``"a, b and c"``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
