"""Spoken digits for the minis: synthesised by espeak-ng, trimmed, and stored as Ogg Opus.

They are made once and committed; neither training nor tests need espeak-ng. A voice is a speaker of espeak-ng
with its own pitch and speed; each says the ten digits in every language, all in one file.
"""

from __future__ import annotations

import functools
import io
import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LabError
from .tasks.speech import LANGUAGES, RATE, samples

_VOICE = {"en": "en-us", "fr": "fr-fr"}  # what espeak-ng calls a language, where it is not the code

SPEAKERS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt4",
    "Alicia", "Andrea", "Annie", "Denis", "Diogo", "Jacky", "Lee", "Marco", "Michael", "Mike", "Nguyen",
    "adam", "anika", "belinda", "boris", "caleb", "david", "edward", "iven", "linda", "max", "miguel",
    "pablo", "quincy", "rob", "steph", "travis", "zac",
)  # fmt: skip
"""espeak-ng's variants that make the voices."""

# espeak-ng reads figures by itself; in Japanese, 0, 4 and 7 are then read in the way that is rarer alone.
_SAID = {"ja": ("ゼロ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")}
_GAP = RATE // 10  # silence between two digits in a file, so that coding does not smear one into the next
_LEVEL = 0.5  # the loudest sample of a digit
_COARSE = 0.965  # libsndfile's compression level: some 24 kbit/s at one channel


def make(folder: Path) -> Path:
    """Synthesise the ten digits in every language with every voice.

    Parameters
    ----------
    folder
        Receives one ``.ogg`` per voice and ``index.json`` with the first and last sample of each digit.

    Returns
    -------
    Path
        The index.

    Raises
    ------
    LabError
        If espeak-ng is not installed, or fails.
    """
    import soundfile

    if shutil.which("espeak-ng") is None:
        raise LabError(
            "espeak-ng, which synthesises the digits, is not installed.", hint="apt-get install espeak-ng"
        )
    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {"rate": RATE, "languages": list(LANGUAGES), "voices": {}}
    for speaker in SPEAKERS:
        rng = random.Random(speaker)
        pitch, speed = rng.randint(30, 70), rng.randint(135, 185)
        spans: dict[str, list[list[int]]] = {}
        parts, at = [], 0
        for language in LANGUAGES:
            spans[language] = []
            for digit in range(10):
                clip = say(digit, language, speaker=speaker, pitch=pitch, speed=speed)
                spans[language].append([at, at + len(clip)])
                parts += [clip, np.zeros(_GAP, dtype=np.float32)]
                at += len(clip) + _GAP
        soundfile.write(
            folder / f"{speaker}.ogg", np.concatenate(parts), RATE,
            format="OGG", subtype="OPUS", compression_level=_COARSE,
        )  # fmt: skip
        index["voices"][speaker] = {"pitch": pitch, "speed": speed, "digits": spans}
    path = folder / "index.json"
    path.write_text(json.dumps(index, separators=(",", ":")) + "\n")
    return path


def say(digit: int, language: str, *, speaker: str, pitch: int = 50, speed: int = 160) -> Any:
    """Return a digit spoken by espeak-ng, float32 at 16 kHz, without silence around it.

    Parameters
    ----------
    digit, language
        0 to 9, and a key of `tasks.speech.LANGUAGES`.
    speaker, pitch, speed
        espeak-ng's variant, its pitch (0 to 99), and words per minute.

    Raises
    ------
    LabError
        If espeak-ng fails, outputs silence, or lacks the variant (it would then use its default voice).
    """
    import soundfile
    from scipy.signal import resample_poly

    text = _SAID[language][digit] if language in _SAID else str(digit)
    if speaker not in _variants():
        raise LabError(
            f"This espeak-ng has no variant {speaker!r}.", hint="espeak-ng --voices=variant lists them."
        )
    voice = f"{_VOICE.get(language, language)}+{speaker}"
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", text]
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 – fixed words, no shell
    if done.returncode or not done.stdout:
        raise LabError(f"espeak-ng output no sound for {text!r} as {voice}: {done.stderr.decode().strip()}")
    sound, rate = soundfile.read(io.BytesIO(done.stdout), dtype="float32")
    common = np.gcd(rate, RATE)
    return trimmed(resample_poly(sound, RATE // common, rate // common).astype(np.float32))


@functools.cache
def _variants() -> frozenset[str]:
    command = ["espeak-ng", "--voices=variant"]  # found on the search path
    listed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    return frozenset(word.removeprefix("!v/") for word in listed.stdout.split() if word.startswith("!v/"))


def trimmed(sound: Any) -> Any:
    """Return a sound from where it first reaches 1/50 of its peak to where it last does.

    20 ms are kept on both sides, and the peak becomes 0.5.
    """
    loudest = float(np.abs(sound).max())
    if loudest == 0:
        raise LabError("The recording of a digit is silent.")
    audible = np.flatnonzero(np.abs(sound) > loudest / 50)
    start, stop = max(0, audible[0] - RATE // 50), audible[-1] + RATE // 50
    return sound[start:stop] * np.float32(_LEVEL / loudest)


def write_samples(folder: Path) -> None:
    """Write held-out voices saying 2, 0, 7, one WAV file per language; they are the same every time."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    for language, sound in samples().items():
        soundfile.write(folder / f"{language}-207.wav", sound, RATE, subtype="PCM_16")
