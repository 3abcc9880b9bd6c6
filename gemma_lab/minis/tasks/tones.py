"""Tones: whether the second is higher, which is longer, how many there are.

Held out: every fifth note of three octaves; at least one tone of every held-out question is such a note.
Accuracy by chance, without the sound: `CHANCE`. A share of training has shorter and longer tones and pauses,
under other conditions (`gemma_lab.minis.tasks.recording`).
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

from .question import Question
from .recording import recorded
from .variation import varies

CHANCE = {"pitch": 1 / 3, "length": 1 / 2, "count": 1 / 4}
"""Kind of question -> the accuracy of a guess without listening."""

RATE = 16_000
"""Samples per second."""

NOTES = range(36)
"""Half tones above 220 Hz: three octaves."""

_APART = 3  # the fewest half tones between two notes that differ
_LONGEST = 3 * RATE  # as of speech: longer sounds would take most of a row
_LENGTHS = {"pitch": (0.2, 0.4), "length": (0.12, 0.3), "count": (0.12, 0.3)}
"""Kind of question -> seconds of a tone, and of the shorter one where they differ."""
_MORE_LENGTHS = {"pitch": (0.1, 1.0), "length": (0.1, 0.35), "count": (0.1, 1.0)}
_PAUSES, _MORE_PAUSES = (0.12, 0.25), (0.1, 0.8)
_EDGE = 0.05  # seconds before the first tone of a sound that varies
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
        pause = np.zeros(int(rng.uniform(*_PAUSES) * RATE), dtype=np.float32)
        parts += [tone(note, seconds=seconds, overtone=overtone), pause]
    sound = np.concatenate(parts) * np.float32(rng.uniform(0.15, 0.7))
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound), dtype=np.float32)
    return np.clip(sound + noise * np.float32(10 ** rng.uniform(-3.5, -2.5)), -1, 1)


def play_otherwise(rng: random.Random, tones: list[tuple[int, float]], pauses: list[float]) -> Any:
    """Return tones with the seconds of the pauses between them, under other conditions of recording."""
    import numpy as np

    overtone = rng.choice((0.0, rng.uniform(0.1, 0.5)))
    parts = []
    for (note, seconds), pause in zip(tones, [_EDGE, *pauses], strict=True):
        parts.append(np.zeros(int(pause * RATE), dtype=np.float32))
        parts.append(tone(note, seconds=seconds, overtone=overtone))
    sound = np.concatenate(parts) * np.float32(rng.uniform(0.15, 0.7))
    return recorded(rng, sound, rate=RATE, longest=_LONGEST)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw tones, of held-out notes or of others, with their question."""
    kind = rng.choice(list(_KINDS))
    if varies(rng, held):
        tones, pauses, answer = _drawn_otherwise(rng, kind)
        audio = play_otherwise(rng, tones, pauses)
        return Question("tones", rng.choice(_ASK[kind]), answer, audio=audio, group=kind)
    tones, answer = _KINDS[kind](rng, held, _LENGTHS[kind])
    return Question("tones", rng.choice(_ASK[kind]), answer, audio=play(rng, tones), group=kind)


def _drawn_otherwise(rng: random.Random, kind: str) -> tuple[list[tuple[int, float]], list[float], str]:
    """Draw tones of training with the pauses between them, which fit into the longest sound."""
    tones, answer = _KINDS[kind](rng, False, _MORE_LENGTHS[kind])
    while True:  # the answer is kept, or there would be few sounds of four tones
        pauses = [rng.uniform(*_MORE_PAUSES) for _ in tones[1:]]
        if _EDGE + sum(seconds for _, seconds in tones) + sum(pauses) <= _LONGEST / RATE:
            return tones, pauses, answer
        tones = [(note, max(_MORE_LENGTHS[kind][0], 0.9 * seconds)) for note, seconds in tones]


def _pitch(rng: random.Random, held: bool, lengths: tuple[float, float]) -> _Drawn:
    answer = rng.choice(("higher", "lower", "same"))
    everything = NOTES if held else notes(False)
    while True:
        first, second = rng.choice(notes(held)), rng.choice(everything)
        if answer == "same":
            second = first
        apart = second - first if answer == "higher" else first - second
        if answer == "same" or apart >= _APART:
            return [(note, rng.uniform(*lengths)) for note in (first, second)], answer


def _length(rng: random.Random, held: bool, lengths: tuple[float, float]) -> _Drawn:
    note, short = rng.choice(notes(held)), rng.uniform(*lengths)
    tones = [(note, short), (note, short * rng.uniform(2, 3))]
    if rng.random() < 0.5:
        return tones[::-1], "first"
    return tones, "second"


def _count(rng: random.Random, held: bool, lengths: tuple[float, float]) -> _Drawn:
    count, note, seconds = rng.randint(1, 4), rng.choice(notes(held)), rng.uniform(*lengths)
    return [(note, seconds)] * count, str(count)


_Drawn = tuple[list[tuple[int, float]], str]
_KINDS: dict[str, Callable[[random.Random, bool, tuple[float, float]], _Drawn]] = {
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
