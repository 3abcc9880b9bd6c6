"""Sounds: read, cut, checked, mixed to mono and resampled to 16 kHz."""

from __future__ import annotations

import io
import math
import wave
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import BadMedia
from .arguments import check_rate, check_span, split_rate
from .arrays import to_numpy
from .pyav import audio_length, read_audio
from .sources import is_file, name_of, read_file
from .wav import is_wav, read_wav

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples per second that every Gemma 4 takes (``Gemma4AudioFeatureExtractor.sampling_rate``).
SAMPLE_RATE = 16_000
#: Longest sound that a Gemma 4 takes, in seconds: ``audio_seq_length`` (750 tokens) of 40 ms in its
#: processor; its feature extractor cuts off the rest without a warning.
MAX_SECONDS = 30.0
#: Shortest sound, in seconds: one soft token.
MIN_SECONDS = 0.04
#: A float sound may exceed 1 a little, as decoded MP3 does; more than this is another scale.
_MAX_LEVEL = 2.0
_MAX_CHANNELS = 8
#: Tolerance of the length by packets against the length by samples, seconds.
_PACKETS = 0.1

_ACCEPTED = (
    "Give a path, the bytes of a file, an open file, or an array with its rate: (samples, 44_100). "
    "gemma_lab.load_audio(…) opens one and cuts it."
)


@dataclass(frozen=True, eq=False)
class Audio(Displayed):
    """A sound as the models take it.

    `gemma_lab.load_audio` makes one.

    Attributes
    ----------
    samples
        float32 ``(samples,)``, mono, 16,000 per second, about −1 to 1.
    name
        Its name in views: the file's name, or ``"sound"``.
    original
        Rate in Hz and number of channels of its source.
    start
        Where it begins in its source, in seconds.
    """

    samples: NDArray[np.float32] = field(repr=False)
    name: str = "sound"
    original: tuple[int, int] = (SAMPLE_RATE, 1)
    start: float = 0.0

    @property
    def seconds(self) -> float:
        """Its length in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def wav(self) -> bytes:
        """Return it as a WAV file: 16 bit, 16 kHz, mono. Levels beyond 1 are clipped."""
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes((np.clip(self.samples, -1, 1) * 32767).astype("<i2").tobytes())
        return file.getvalue()

    def __repr__(self) -> str:
        rate, channels = self.original
        was = "" if (rate, channels) == (SAMPLE_RATE, 1) else f", from {rate:,} Hz × {channels}"
        return f"Audio({self.name}: {self.seconds:.2f} s, 16 kHz mono{was})"


def load_audio(
    source: Any,
    *,
    rate: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> Audio:
    """Return a sound as the models take it: mono, 16 kHz, at most 30 s.

    Parameters
    ----------
    source
        A path, the bytes of a file or a file open for reading bytes (WAV; with the extra ``video`` any
        format of FFmpeg, also the sound of a video). A pair ``(samples, rate)`` or ``(rate, samples)``, or
        samples alone (with `rate`): an array or tensor ``(samples,)``, ``(samples, channels)`` or
        ``(channels, samples)`` of floats −1 to 1 or of integers. Or an `Audio`.
    rate
        Samples per second of an array.
    start, stop
        Seconds between which it is cut out; its beginning and its end by default.

    Raises
    ------
    BadMedia
        If it cannot be read, is empty, longer than 30 s, not finite, or of another scale.
    MissingExtra
        If it is no PCM WAV and PyAV is not installed.

    Examples
    --------
    >>> lab.chat("What is said?", audio=gemma_lab.load_audio("talk.wav", start=12, stop=40))
    """
    start, stop = check_span(start, stop)
    if isinstance(source, Audio):
        if start is None and stop is None:
            return source
        return _cut(
            source.samples, SAMPLE_RATE, source.original, source.name, start, stop, offset=source.start
        )
    if is_file(source):
        samples, hertz, channels = _read(source, start, stop)
        return _cut(samples, hertz, (hertz, channels), name_of(source, "sound"), start, stop)
    values, per_second = _with_rate(source, rate)
    array = _columns(to_numpy(values, noun="sound"))
    return _cut(_mono(array), per_second, (round(per_second), array.shape[1]), "sound", start, stop)


def audio_seconds(
    source: Any,
    *,
    rate: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> float:
    """Return the length of the sound that `load_audio` would return, in seconds, without decoding it.

    Exact for arrays and PCM WAV files. The packets of other files give it to some 50 ms: the sound is rather
    shorter.

    Parameters
    ----------
    source, rate, start, stop
        As for `load_audio`. An open file is left at its beginning.

    Raises
    ------
    BadMedia, MissingExtra
        As `load_audio`, for what does not need the samples.
    """
    start, stop = check_span(start, stop)
    if isinstance(source, Audio):
        total = source.seconds
    elif is_file(source):
        data, what = read_file(source, noun="sound", accepted=_ACCEPTED)
        if hasattr(source, "seek"):
            source.seek(0)
        header = read_wav(data, what) if is_wav(data) else None
        total = audio_length(data, what) if header is None else len(header[0]) / header[1]
        if header is None and MAX_SECONDS < total < MAX_SECONDS + _PACKETS:
            total = MAX_SECONDS
    else:
        samples, hertz = _with_rate(source, rate)
        total = max(_shape(samples), default=0) / hertz
    first, last = _span(total, start, stop)
    return last - first


def _with_rate(source: Any, rate: Any) -> tuple[Any, float]:
    """Return samples and their rate, of a pair or of two arguments."""
    samples, paired = split_rate(source)
    rate = paired if rate is None else rate
    if not hasattr(samples, "shape") and not isinstance(samples, list | tuple):
        raise BadMedia(f"A value of type {type(samples).__name__} is not a sound.", hint=_ACCEPTED)
    if rate is None:
        raise BadMedia(
            f"An array of shape {_shape(samples)} is a sound only with its rate.",
            hint="Pass the two together: audio=(samples, 16_000) for 16,000 samples per second.",
        )
    return samples, check_rate("rate", rate, minimum=1000, maximum=768_000, example="44_100")


def _shape(samples: Any) -> tuple[int, ...]:
    """Return the shape of an array, a tensor or nested lists."""
    if hasattr(samples, "shape"):
        return tuple(samples.shape)
    try:
        return np.shape(samples)
    except ValueError as error:  # lists of different lengths, or an array among other things
        raise BadMedia(
            f"A {type(samples).__name__} of {len(samples)} things of different shapes is not a sound.",
            hint=_ACCEPTED,
        ) from error


def _read(source: Any, start: float | None, stop: float | None) -> tuple[NDArray[np.float32], int, int]:
    """Return the samples of a file ``(samples,)``, their rate, and the number of its channels."""
    data, what = read_file(source, noun="sound", accepted=_ACCEPTED)
    wav = read_wav(data, what) if is_wav(data) else None
    if wav is not None:
        return wav
    until = MAX_SECONDS + (start or 0.0) + 1 if stop is None else stop
    return read_audio(data, what, until=until, measure=stop is None)


def _columns(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of samples as ``(samples, channels)``."""
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > _MAX_CHANNELS):
        raise BadMedia(
            f"An array of shape {array.shape} is not a sound.",
            hint=f"It must be (samples,), (samples, channels) or (channels, samples), of at most "
            f"{_MAX_CHANNELS} channels.",
        )
    if not array.size:
        raise BadMedia(f"The sound is empty: an array of shape {array.shape}.", hint="It needs samples.")
    if array.ndim == 1:
        return array[:, None]
    return array.T if array.shape[0] < array.shape[1] else array


def _mono(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return ``(samples, channels)`` as floats −1 to 1 ``(samples,)``; `BadMedia` if the scale is unknown."""
    if array.dtype == np.uint8:
        values = (array.astype(np.float32) - 128) / np.float32(128)
    elif array.dtype.kind == "i" and array.dtype.itemsize <= 4:
        values = (array / float(2 ** (8 * array.dtype.itemsize - 1))).astype(np.float32)
    elif array.dtype.kind == "f":
        values = array.astype(np.float32)
    else:
        raise BadMedia(
            f"An array of {array.dtype} is not a sound: its scale is unknown.",
            hint="Use floats −1 to 1, or int16 as a WAV file holds them: array.astype(np.int16).",
        )
    return values.mean(axis=1, dtype=np.float32) if values.shape[1] > 1 else values[:, 0]


def _span(total: float, start: float | None, stop: float | None) -> tuple[float, float]:
    """Return where the part of a sound begins and ends, in seconds; `BadMedia` if its length is not taken."""
    first = 0.0 if start is None else start
    last = total if stop is None else min(stop, total)
    if last - first < MIN_SECONDS:
        where = f" from {first:g} s on" if first else ""
        raise BadMedia(
            f"The sound is {max(0.0, last - first) * 1000:.0f} ms long{where}; a model takes no less than "
            f"{MIN_SECONDS * 1000:.0f} ms.",
            hint=f"All of it is {total:.2f} s long.",
        )
    if last - first > MAX_SECONDS:
        raise too_long(last - first, first)
    return first, last


def _cut(
    samples: NDArray[np.float32],
    rate: float,
    original: tuple[int, int],
    name: str,
    start: float | None,
    stop: float | None,
    *,
    offset: float = 0.0,
) -> Audio:
    """Cut, check and resample."""
    first, last = _span(len(samples) / rate, start, stop)
    part = samples[round(first * rate) : round(last * rate)]
    _check_levels(part)
    return Audio(_resampled(part, rate), name, original, offset + first)


def too_long(seconds: float, first: float = 0.0) -> BadMedia:
    """Return the error for a sound that is too long; its hint lists the parts that it can be cut into."""
    count = math.ceil(round(seconds / MAX_SECONDS, 9))
    length = math.ceil(seconds / count * 100) / 100  # equal parts, so that none is too short
    cuts = ", ".join(f"{first + number * length:g}" for number in range(min(count, 4)))
    return BadMedia(
        f"The sound is {seconds:.2f} s long; a Gemma 4 takes at most {MAX_SECONDS:.0f} s at once.",
        hint=f"Choose the part: gemma_lab.load_audio(…, start={first:g}, stop={first + MAX_SECONDS:g}). Or "
        f"pass {count} parts: audio=[gemma_lab.load_audio(…, start=s, stop=s + {length:g}) "
        f"for s in ({cuts}{', …' if count > 4 else ''})].",
    )


def _check_levels(samples: NDArray[np.float32]) -> None:
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite([low, high]).all():
        raise BadMedia("The sound holds NaN or infinity.", hint="Use finite floats: np.nan_to_num(samples).")
    if max(-low, high) > _MAX_LEVEL:
        scale = 32_768 if max(-low, high) <= 32_768 else 2_147_483_648
        raise BadMedia(
            f"The sound runs from {low:g} to {high:g}; floats of a sound run from −1 to 1.",
            hint=f"Divide it by the largest value of its format, {scale:,}.",
        )


def _resampled(samples: NDArray[np.float32], rate: float) -> NDArray[np.float32]:
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(samples, dtype=np.float32).copy()
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    limit = round(MAX_SECONDS * SAMPLE_RATE)  # rounding may add a sample
    return np.ascontiguousarray(resampled[:limit], dtype=np.float32)
