"""Tones: whether the second is higher, which is longer, how many there are.

Held out: every fifth note of three octaves; at least one tone of every held-out question is such a note.
Accuracy by chance, without the sound: `CHANCE`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

from .question import Question

CHANCE = {"pitch": 1 / 3, "length": 1 / 2, "count": 1 / 4}
"""Kind of question -> the accuracy of a guess without listening."""

RATE = 16_000
"""Samples per second."""

NOTES = range(36)
"""Half tones above 220 Hz: three octaves."""

_APART = 3  # the fewest half tones between two notes that differ
_ASK = {
    "pitch": (
        "Is the second tone higher, lower or the same?",
        "You hear two tones. Is the second one higher, lower or the same?",
    ),
    "length": ("Which tone is longer, the first or the second?",),
    "count": ("How many beeps do you hear? Answer with a digit.",),
}


@functools.cache
def notes(held: bool) -> tuple[int, ...]:
    """Return the held-out notes, or those of training."""
    return tuple(note for note in NOTES if (note % 5 == 2) == held)


def tone(note: int, *, seconds: float, overtone: float = 0.0) -> Any:
    """Return one tone of amplitude 1, float32 at 16 kHz, with a rise and fall of 15 ms.

    Parameters
    ----------
    note
        Semitones above 220 Hz.
    overtone
        Amplitude of the octave, 0 to 1.
    """
    import numpy as np

    time = np.arange(int(seconds * RATE)) / RATE
    turns = 2 * np.pi * 220 * 2 ** (note / 12) * time
    wave = (np.sin(turns) + overtone * np.sin(2 * turns)) / (1 + overtone)
    edge = np.minimum(1, np.minimum(time, time[::-1]) / 0.015)
    return (wave * edge).astype(np.float32)


def play(rng: random.Random, tones: list[tuple[int, float]]) -> Any:
    """Return tones, each a note and its seconds, in sequence: float32 mono at 16 kHz, -1 to 1.

    Pauses are 120 to 250 ms; loudness, timbre, and noise 30 to 50 dB below are drawn once per sound.
    """
    import numpy as np

    overtone = rng.choice((0.0, rng.uniform(0.1, 0.5)))
    parts = [np.zeros(rng.randint(400, 2400), dtype=np.float32)]
    for note, seconds in tones:
        pause = np.zeros(int(rng.uniform(0.12, 0.25) * RATE), dtype=np.float32)
        parts += [tone(note, seconds=seconds, overtone=overtone), pause]
    sound = np.concatenate(parts) * np.float32(rng.uniform(0.15, 0.7))
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound), dtype=np.float32)
    return np.clip(sound + noise * np.float32(10 ** rng.uniform(-3.5, -2.5)), -1, 1)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw tones, of held-out notes or of others, with their question."""
    kind = rng.choice(list(_KINDS))
    tones, answer = _KINDS[kind](rng, held)
    return Question("tones", rng.choice(_ASK[kind]), answer, audio=play(rng, tones), group=kind)


def _pitch(rng: random.Random, held: bool) -> tuple[list[tuple[int, float]], str]:
    answer = rng.choice(("higher", "lower", "same"))
    everything = NOTES if held else notes(False)
    while True:
        first, second = rng.choice(notes(held)), rng.choice(everything)
        if answer == "same":
            second = first
        apart = second - first if answer == "higher" else first - second
        if answer == "same" or apart >= _APART:
            return [(note, rng.uniform(0.2, 0.4)) for note in (first, second)], answer


def _length(rng: random.Random, held: bool) -> tuple[list[tuple[int, float]], str]:
    note, short = rng.choice(notes(held)), rng.uniform(0.12, 0.3)
    tones = [(note, short), (note, short * rng.uniform(2, 3))]
    if rng.random() < 0.5:
        return tones[::-1], "first"
    return tones, "second"


def _count(rng: random.Random, held: bool) -> tuple[list[tuple[int, float]], str]:
    count, note, seconds = rng.randint(1, 4), rng.choice(notes(held)), rng.uniform(0.12, 0.3)
    return [(note, seconds)] * count, str(count)


_KINDS: dict[str, Callable[[random.Random, bool], tuple[list[tuple[int, float]], str]]] = {
    "pitch": _pitch,
    "length": _length,
    "count": _count,
}


def corpus() -> list[str]:
    """Return the questions and their answers, for the tokenizer."""
    return [
        *(ask for asks in _ASK.values() for ask in asks),
        "higher",
        "lower",
        "same",
        "first",
        "second",
    ] * 20
