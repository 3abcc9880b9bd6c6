"""Transcription of one to four spoken digits in eight languages, from ``data/speech``.

Held out: all clips of some voices (`HELD_OUT`). Half of the questions have one digit, a quarter two, the rest
three or four. Every draw varies speed, pitch, loudness, pauses and noise, so no two sounds are equal.
`gemma_lab.minis.speech_clips` made the recordings. Accuracy by chance, without the sound: `CHANCE`.
"""

from __future__ import annotations

import functools
import json
import random
from typing import Any

from ...assets import data_path
from .question import Question
from .recording import recorded
from .variation import varies

LANGUAGES = {
    "en": "English", "de": "German", "ar": "Arabic", "vi": "Vietnamese", "fr": "French", "es": "Spanish",
    "hi": "Hindi", "ja": "Japanese",
}  # fmt: skip
HELD_OUT = ("m7", "f5", "klatt4", "Andrea", "Michael", "linda", "david", "zac")
"""The voices that training never hears."""

RATE = 16_000
"""Samples per second."""

CHANCE = dict.fromkeys(LANGUAGES, 0.053)
"""Language -> the accuracy of a guess without listening: a tenth for one digit, a hundredth for two, …"""

_LONGEST = 3 * RATE
_ONE = (
    "Which digit do you hear? Answer with a digit.",
    "Which {language} digit do you hear? Answer with a digit.",
)
_MANY = (
    "Which digits do you hear? Write them without spaces.",
    "Which {language} digits do you hear? Write them without spaces.",
)


@functools.cache
def _index() -> dict[str, dict[str, Any]]:
    index = json.loads((data_path("speech") / "index.json").read_text())
    voices: dict[str, dict[str, Any]] = index["voices"]
    return voices


@functools.cache
def voices(held: bool) -> tuple[str, ...]:
    """Return the held-out voices, or those of training."""
    return tuple(voice for voice in _index() if (voice in HELD_OUT) == held)


@functools.cache
def _recording(voice: str) -> Any:
    """Return the recording of a voice, int16, as written by `gemma_lab.minis.speech_clips`."""
    import soundfile

    return soundfile.read(data_path("speech") / f"{voice}.ogg", dtype="int16")[0]


def digit(number: int, *, language: str, voice: str) -> Any:
    """Return one recorded digit: float32 mono at 16 kHz, -1 to 1, without silence around it.

    Parameters
    ----------
    number
        0 to 9.
    language, voice
        A key of `LANGUAGES`, and one of `voices`.
    """
    start, stop = _index()[voice]["digits"][language][number]
    return _recording(voice)[start:stop].astype("float32") / 32768


def utter(rng: random.Random, numbers: list[int], *, language: str, voice: str, varied: bool = False) -> Any:
    """Join digits into a new utterance: float32 mono at 16 kHz, at most 3 s.

    Speed and pitch change together by up to a tenth, and further where it would be longer; loudness changes
    by a factor of up to three. Pauses are 40 to 160 ms, with some silence before and after, and noise 30 to
    50 dB below.

    Parameters
    ----------
    numbers, language, voice
        Of the `digit`s.
    varied
        Record it under other conditions (`gemma_lab.minis.tasks.recording`), for training.
    """
    import numpy as np

    parts = [np.zeros(rng.randint(400, 3200), dtype=np.float32)]
    for number in numbers:
        parts += [digit(number, language=language, voice=voice), _pause(rng)]
    parts.append(np.zeros(rng.randint(0, 1600), dtype=np.float32))
    sound: Any = np.concatenate(parts)
    length = min(int(len(sound) / rng.uniform(0.9, 1.1)), _LONGEST)
    sound = np.interp(np.linspace(0, len(sound) - 1, length), np.arange(len(sound)), sound)
    sound *= rng.uniform(0.5, 1.5)
    if varied:
        return recorded(rng, sound.astype(np.float32), rate=RATE, longest=_LONGEST)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(length, dtype=np.float32)
    sound += noise * np.float32(10 ** rng.uniform(-3.5, -2.5))
    return np.clip(sound, -1, 1).astype(np.float32)


def _pause(rng: random.Random) -> Any:
    import numpy as np

    return np.zeros(rng.randint(640, 2560), dtype=np.float32)


def ask(rng: random.Random, held: bool) -> Question:
    """Draw spoken digits of one voice, held out or not, with their question."""
    language, voice = rng.choice(list(LANGUAGES)), rng.choice(voices(held))
    count = rng.choices((1, 2, 3, 4), weights=(10, 5, 3, 2))[0]
    numbers = [rng.randrange(10) for _ in range(count)]
    prompt = rng.choice(_ONE if count == 1 else _MANY).format(language=LANGUAGES[language])
    sound = utter(rng, numbers, language=language, voice=voice, varied=varies(rng, held))
    return Question("speech", prompt, "".join(map(str, numbers)), audio=sound, group=language)


def samples() -> dict[str, Any]:
    """Return language → a held-out voice saying 2, 0, 7 in it; the sounds are the same every time."""
    return {
        language: utter(random.Random(language), [2, 0, 7], language=language, voice=HELD_OUT[number])
        for number, language in enumerate(LANGUAGES)
    }


def corpus() -> list[str]:
    """Return the questions, for the tokenizer."""
    return [ask.format(language=name) for ask in (*_ONE, *_MANY) for name in LANGUAGES.values()] * 5
