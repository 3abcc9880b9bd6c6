"""WAV files, read with the standard library: PCM of 8, 16, 24 or 32 bits."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadMedia

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_wave(data: bytes) -> bool:
    """Return whether bytes begin as a WAV file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def read_wave(data: bytes, what: str) -> tuple[NDArray[np.float32], int, int] | None:
    """Return the samples of a WAV file, mono, with its rate and its number of channels.

    Parameters
    ----------
    data
        The file.
    what
        How to call it in an error.

    Returns
    -------
    (float32 array ``(samples,)``, samples a second, channels), or None if it holds another coding than PCM,
    which the standard library does not read.

    Raises
    ------
    BadMedia
        If it is broken or empty.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except wave.Error as error:
        if "unknown format" in str(error):
            return None
        raise broken(what, str(error)) from error
    except EOFError as error:
        raise broken(what, "it ends inside its header") from error
    if not channels or rate <= 0 or width not in (1, 2, 3, 4):
        raise broken(what, f"{channels} channels of {width} bytes at {rate} Hz")
    whole = len(frames) // (width * channels) * width * channels
    if not whole:
        raise BadMedia(f"The sound is empty: {what} holds no samples.", hint="Check how it was written.")
    samples = _numbers(frames[:whole], width).reshape(-1, channels)
    return samples.mean(axis=1, dtype=np.float32), rate, channels


def broken(what: str, reason: str) -> BadMedia:
    """Return the error of a file that contradicts itself."""
    return BadMedia(f"{what} is broken: {reason}.", hint="Fetch or export it again.")


def _numbers(frames: bytes, width: int) -> NDArray[np.float32]:
    if width == 1:  # unsigned, as the format says
        return (np.frombuffer(frames, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if width == 3:  # no such integer in numpy: put a zero byte below each
        wide = np.zeros((len(frames) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    kind = {2: "<i2", 4: "<i4"}[width]
    return np.frombuffer(frames, kind).astype(np.float32) / np.float32(2 ** (8 * width - 1))
