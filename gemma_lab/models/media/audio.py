"""Sounds on their way in: read, cut, checked, made mono and brought to 16 kHz."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import BadMedia
from .pyav import decoded_sound
from .sources import is_file, read_file
from .time_spans import checked_span
from .wav import is_wave, read_wave

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Samples a second that every Gemma 4 hears (``Gemma4AudioFeatureExtractor.sampling_rate``).
SAMPLE_RATE = 16_000
#: Longest sound that a Gemma 4 hears at once, in seconds: ``audio_seq_length`` (750 tokens) of 40 ms in its
#: processor; its feature extractor cuts off the rest without a word.
MAX_SECONDS = 30.0
#: Shortest sound, in seconds: one soft token.
MIN_SECONDS = 0.04
#: A float sound may overshoot 1 a little, as decoded MP3 does; more than this is another scale.
_LOUDEST = 2.0

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
        float32 ``(samples,)``, mono, 16,000 a second, about −1 to 1.
    name
        What it is called in views: the file's name, or ``"sound"``.
    original
        What it was before: rate in Hz and number of channels.
    start
        Where it begins in its source, in seconds.
    """

    samples: NDArray[np.float32] = field(repr=False)
    name: str = "sound"
    original: tuple[int, int] = (SAMPLE_RATE, 1)
    start: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE

    def wav(self) -> bytes:
        """Return it as a WAV file: what the model hears, 16 bit, 16 kHz, mono. Louder than 1 is clipped."""
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
    rate: int | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> Audio:
    """Return a sound as the models take it: mono, 16 kHz, at most 30 s, whole or cut where you say.

    Parameters
    ----------
    source
        A path, the bytes of a file or a file open for reading bytes (WAV; with the extra ``video`` whatever
        FFmpeg reads, also the sound of a video), a pair ``(samples, rate)``, an array ``(samples,)``,
        ``(samples, channels)`` or ``(channels, samples)`` of floats −1 to 1 or of integers (with `rate`), or
        an `Audio`.
    rate
        Samples a second of an array.
    start, stop
        Seconds between which it is cut out; its beginning and its end by default.

    Raises
    ------
    BadMedia
        If it cannot be read, is empty, longer than 30 s, not finite, or of another scale.
    MissingExtra
        If it is no WAV and PyAV is not installed.

    Examples
    --------
    >>> lab.chat("What is said?", audio=gemma_lab.load_audio("talk.wav", start=12, stop=40))
    """
    checked_span(start, stop)
    if isinstance(source, Audio):
        made = _finished(source.samples, SAMPLE_RATE, source.original, source.name, start, stop, before=source.start)
        return source if start is None and stop is None else made
    if isinstance(source, tuple) and len(source) == 2 and np.ndim(source[1]) == 0:
        source, rate = source[0], source[1]
    if is_file(source):
        samples, hertz, channels = _opened(source, start, stop)
        name = Path(source).name if isinstance(source, str | Path) else "sound"
        return _finished(samples, hertz, (hertz, channels), name, start, stop)
    if hasattr(source, "__array__") or isinstance(source, list | tuple):
        return _from_array(source, rate, start, stop)
    raise BadMedia(f"A {type(source).__name__} is no sound.", hint=_ACCEPTED)


def _opened(source: Any, start: float | None, stop: float | None) -> tuple[NDArray[np.float32], int, int]:
    """Return the samples of a file ``(samples,)``, their rate, and how many channels there were."""
    data, what = read_file(source, noun="sound", accepted=_ACCEPTED)
    read = read_wave(data, what) if is_wave(data) else None
    if read is None:
        until = MAX_SECONDS + (start or 0.0) + 1 if stop is None else stop
        read = decoded_sound(data, what, until=until, whole=stop is None)
    samples, rate, channels = read
    return samples, rate, channels


def _from_array(source: Any, rate: Any, start: float | None, stop: float | None) -> Audio:
    if hasattr(source, "detach"):  # a torch tensor, wherever it is
        source = source.detach().cpu()
    array = np.asarray(source)
    if rate is None:
        raise BadMedia(
            f"An array of shape {array.shape} is a sound only with its rate.",
            hint="Pass the two together: audio=(samples, 16_000) for 16,000 samples a second.",
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number) or not 1000 <= rate <= 768_000:
        raise BadMedia(
            f"rate={rate!r} is no number of samples a second.", hint="For example 16_000 or 44_100."
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and min(array.shape) > 8):
        raise BadMedia(
            f"An array of shape {array.shape} is no sound.",
            hint="It must be (samples,), (samples, channels) or (channels, samples), of at most 8 channels.",
        )
    if not array.size:
        raise BadMedia(f"The sound is empty: an array of shape {array.shape}.", hint="It needs samples.")
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        array = array.T
    channels = array.shape[1] if array.ndim == 2 else 1
    samples = _floats(array)
    mono = samples.mean(axis=1, dtype=np.float32) if samples.ndim == 2 else samples
    return _finished(mono, int(rate), (int(rate), channels), "sound", start, stop)


def _floats(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values as floats −1 to 1, or say why that cannot be known."""
    if array.dtype == np.uint8:
        return ((array.astype(np.float32) - 128) / 128).astype(np.float32)
    if array.dtype in (np.int8, np.int16, np.int32):
        return (array / float(-np.iinfo(array.dtype).min)).astype(np.float32)
    if array.dtype.kind != "f":
        raise BadMedia(
            f"An array of {array.dtype} is no sound.",
            hint="Use floats −1 to 1, or int16 as a WAV file holds them: array.astype(np.int16).",
        )
    return array.astype(np.float32)


def _finished(
    samples: NDArray[np.float32], rate: int, original: tuple[int, int], name: str,
    start: float | None, stop: float | None, *, before: float = 0.0,
) -> Audio:  # fmt: skip
    """Cut, check and resample."""
    whole = len(samples) / rate
    first = 0.0 if start is None else float(start)
    last = whole if stop is None else min(float(stop), whole)
    part = samples[round(first * rate) : round(last * rate)]
    seconds = len(part) / rate
    if seconds < MIN_SECONDS:
        raise BadMedia(
            f"The sound is {seconds * 1000:.0f} ms long" + (f" from {first:g} s on" if first else "") + "; "
            f"the shortest that a model hears is {MIN_SECONDS * 1000:.0f} ms.",
            hint=f"The whole of it is {whole:.2f} s long.",
        )
    if seconds > MAX_SECONDS:
        raise too_long(seconds, first)
    _loudness(part)
    return Audio(_resampled(part, rate), name, original, before + first)


def too_long(seconds: float, first: float = 0.0) -> BadMedia:
    """Return the error that offers the choice how to shorten a sound."""
    return BadMedia(
        f"The sound is {seconds:.1f} s long; a Gemma 4 hears at most {MAX_SECONDS:.0f} s at once.",
        hint=f"Choose the part: gemma_lab.load_audio(…, start={first:g}, stop={first + MAX_SECONDS:g}). Or pass "
        f"{int(-(-seconds // MAX_SECONDS))} parts one after the other: audio=[gemma_lab.load_audio(…, start=s, "
        f"stop=s + 30) for s in range({int(first)}, {int(first + seconds)}, 30)].",
    )


def _loudness(samples: NDArray[np.float32]) -> None:
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite([low, high]).all():
        raise BadMedia("The sound holds NaN or infinity.", hint="Use finite floats: np.nan_to_num(samples).")
    if max(-low, high) > _LOUDEST:
        raise BadMedia(
            f"The sound runs from {low:g} to {high:g}; floats of a sound run from −1 to 1.",
            hint="Divide it by the largest value of its format, 32768 for 16 bit.",
        )


def _resampled(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate == SAMPLE_RATE:
        return np.ascontiguousarray(samples, dtype=np.float32).copy()
    import soxr

    done: NDArray[np.float32] = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(done[: round(MAX_SECONDS * SAMPLE_RATE)], dtype=np.float32)  # rounding may add a sample
