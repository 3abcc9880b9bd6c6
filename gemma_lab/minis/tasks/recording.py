"""Recording conditions of training: silence around a sound, a dull or quiet microphone, a noisy room."""

from __future__ import annotations

import random
from typing import Any

_SILENCE = 1.0  # most seconds before, and after
_EACH = 0.6  # share of such sounds with each of the conditions
_CUTOFF = (3500, 4000)  # Hertz, of a low-pass as on the telephone
_QUIETEST = 24  # dB
_NOISE = (20, 50)  # dB below the sound


def recorded(rng: random.Random, sound: Any, *, rate: int, longest: int) -> Any:
    """Return a sound under other conditions: float32, -1 to 1; what is said or played stays the same.

    Parameters
    ----------
    sound
        Mono, float32, without noise; a longer one than `longest` stays as long.
    rate
        Samples per second.
    longest
        Samples of the sound with the silence around it.
    """
    import numpy as np

    before, after = _silence(rng, longest - len(sound), most=int(_SILENCE * rate))
    loudness = np.sqrt(np.mean(sound**2))
    sound = np.pad(sound, (before, after))
    if rng.random() < _EACH:
        sound = low_passed(sound, rng.uniform(*_CUTOFF), rate=rate)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(sound), dtype=np.float32)
    sound = sound + noise * loudness * 10 ** (-rng.uniform(*_NOISE) / 20)
    if rng.random() < _EACH:
        sound = sound * 10 ** (-rng.uniform(0, _QUIETEST) / 20)
    return np.clip(sound, -1, 1).astype(np.float32)


def low_passed(sound: Any, cutoff: float, *, rate: int) -> Any:
    """Return a sound without what is above a frequency in Hertz; it fades out over a sixth of an octave."""
    import numpy as np

    spectrum, hertz = np.fft.rfft(sound), np.fft.rfftfreq(len(sound), 1 / rate)
    octaves = np.log2(np.maximum(hertz, 1) / cutoff)
    return np.fft.irfft(spectrum * np.clip(1 - 6 * octaves, 0, 1), n=len(sound)).astype(np.float32)


def _silence(rng: random.Random, room: int, *, most: int) -> tuple[int, int]:
    """Draw the samples of silence before and after a sound, together at most `room`."""
    if rng.random() >= _EACH or room <= 0:
        return 0, 0
    total = rng.randint(0, min(room, 2 * most))
    before = rng.randint(max(0, total - most), min(total, most))
    return before, total - before
