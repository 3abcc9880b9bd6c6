"""Files of FFmpeg's many formats, read with PyAV: opened, and the samples of a sound."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadMedia, MissingExtra

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

#: Longest sound that is measured, in seconds.
_MAX_SECONDS = 3600.0


def library() -> Any:
    """Return PyAV.

    Raises
    ------
    MissingExtra
        If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra(
            "This file is read with PyAV, which is not installed.",
            hint='pip install "gemma_lab[video]". Without it: WAV files, arrays, GIF, APNG and WebP '
            "animations, and frames as images.",
        ) from error
    return av


def _lenient(av: Any) -> dict[str, str]:
    """Return options that keep a file readable whose metadata are not UTF-8; PyAV 19 has no such option."""
    return {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}


@contextmanager
def open_container(source: Path | bytes, what: str, *, noun: str) -> Iterator[Any]:
    """Open a file with PyAV; raise `BadMedia` if it is broken, also where that shows while it is read."""
    av = library()
    in_memory = isinstance(source, bytes)
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source.resolve())
    # A playlist must not make FFmpeg fetch what it names, and one that came as bytes no file of this machine.
    options = {"protocol_whitelist": "none" if in_memory else "file"}
    try:
        with av.open(file, options=options, **_lenient(av)) as container:
            yield container
    except (av.FFmpegError, EOFError, OverflowError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadMedia(
            f"{what} is not a {noun} that can be read, or it is broken: {reason}.",
            hint="Download or export it again.",
        ) from error


def read_audio(
    data: bytes, what: str, *, until: float, measure: bool = True
) -> tuple[NDArray[np.float32], int, int]:
    """Return the samples of a sound, mono, with its rate and its number of channels.

    Parameters
    ----------
    data
        The file.
    what
        How to call it in an error.
    until
        Where the part that is needed ends, in seconds. Later samples are not kept.
    measure
        Count on to the end, so that the length is known: samples that were not kept are zeros.

    Raises
    ------
    BadMedia
        If it is broken, or there is no sound in it.
    MissingExtra
        If PyAV is not installed.
    """
    with open_container(data, what, noun="sound") as container:
        stream = _audio_stream(container, what)
        rate, channels = stream.rate, stream.channels
        resampler = library().AudioResampler(format="fltp")  # the layout stays: channels are averaged here
        kept, count = [], 0
        for frame in container.decode(stream):
            for block in resampler.resample(frame):
                if count <= until * rate:
                    kept.append(block.to_ndarray().mean(axis=0, dtype=np.float32))
                count += block.samples
            if not measure and count > until * rate:
                break
            if count > _MAX_SECONDS * rate:
                raise BadMedia(
                    f"{what} is longer than {_MAX_SECONDS / 3600:.0f} h.",
                    hint="Choose where the part ends: stop=….",
                )
    if not count:
        raise BadMedia(f"The sound is empty: {what} holds no samples.", hint="Check how it was written.")
    samples = np.zeros(count, np.float32)
    read = np.concatenate(kept)
    samples[: len(read)] = read
    return samples, int(rate), int(channels)


def audio_length(data: bytes, what: str) -> float:
    """Return the length of a sound in seconds, by its packets: no sample is decoded.

    A codec may drop some samples at the beginning and the end, so the decoded sound can be shorter by some
    50 ms.

    Raises
    ------
    BadMedia, MissingExtra
        As `read_audio`.
    """
    with open_container(data, what, noun="sound") as container:
        stream = _audio_stream(container, what)
        total, first, last = 0, None, 0
        for packet in container.demux(stream):
            duration = packet.duration or 0
            total += duration
            if packet.pts is not None and packet.size:
                first = packet.pts if first is None else first
                last = max(last, packet.pts + duration)
        return float(max(total, last - (first or 0)) * stream.time_base)


def _audio_stream(container: Any, what: str) -> Any:
    if not container.streams.audio:
        raise BadMedia(f"{what} holds no sound.", hint="Pass pictures as images=…, a video as video=….")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise BadMedia(
            f"The sound of {what} has a coding that FFmpeg cannot read.", hint="Convert it to WAV or MP3."
        )
    return stream
