"""WAV files, read with the standard library: PCM of 8, 16, 24 or 32 bits."""

from __future__ import annotations

import io
import wave
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadMedia

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Placeholders for sizes in the header of a file that was written to a pipe.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)


def is_wav(data: bytes) -> bool:
    """Return whether bytes begin as a WAV file does."""
    return data[:4] == b"RIFF" and data[8:12] == b"WAVE"


def read_wav(data: bytes, what: str) -> tuple[NDArray[np.float32], int, int] | None:
    """Return the samples of a WAV file, mono, with its rate and its number of channels.

    Parameters
    ----------
    data
        The file.
    what
        How to call it in an error.

    Returns
    -------
    (float32 array ``(samples,)``, samples per second, channels), or None if it holds another coding than PCM,
    which the standard library does not read.

    Raises
    ------
    BadMedia
        If it is broken or empty.
    """
    try:
        with wave.open(io.BytesIO(_with_sizes(data))) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except wave.Error as error:
        if "unknown format" in str(error):
            return None
        raise _broken(what, str(error)) from error
    except (EOFError, RuntimeError, ValueError) as error:  # RuntimeError: a chunk longer than the file
        raise _broken(what, "it ends inside a chunk") from error
    if not channels or rate <= 0 or width not in (1, 2, 3, 4):
        raise _broken(what, f"{channels} channels of {width} bytes at {rate} Hz")
    size = len(frames) // (width * channels) * width * channels
    if not size:
        raise BadMedia(f"The sound is empty: {what} holds no samples.", hint="Check how it was written.")
    samples = _floats(frames[:size], width).reshape(-1, channels)
    return samples.mean(axis=1, dtype=np.float32), rate, channels


def _with_sizes(data: bytes) -> bytes:
    """Fill in the sizes that a program which wrote to a pipe left open: 0, or the largest number."""
    position = 12
    while position + 8 <= len(data):
        kind, size = (
            data[position : position + 4],
            int.from_bytes(data[position + 4 : position + 8], "little"),
        )
        rest = len(data) - position - 8
        if kind == b"data" and size in _UNKNOWN_SIZES and rest and not _is_chunk(data[position + 8 :]):
            sizes = (len(data) - 8).to_bytes(4, "little"), rest.to_bytes(4, "little")
            return data[:4] + sizes[0] + data[8 : position + 4] + sizes[1] + data[position + 8 :]
        position += 8 + size + size % 2
    return data


def _is_chunk(data: bytes) -> bool:
    """Return whether bytes are one chunk of a WAV file, such as a list of names after an empty sound."""
    size = int.from_bytes(data[4:8], "little")
    return data[:4].isascii() and data[:4].strip().isalnum() and len(data) in (8 + size, 8 + size + size % 2)


def _broken(what: str, reason: str) -> BadMedia:
    return BadMedia(f"{what} is broken: {reason}.", hint="Download or export it again.")


def _floats(frames: bytes, width: int) -> NDArray[np.float32]:
    if width == 1:  # unsigned, as the format says
        return (np.frombuffer(frames, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if width == 3:  # numpy has no such integer: put a zero byte below each
        wide = np.zeros((len(frames) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(frames, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    dtype = {2: "<i2", 4: "<i4"}[width]
    return np.frombuffer(frames, dtype).astype(np.float32) / np.float32(2 ** (8 * width - 1))
