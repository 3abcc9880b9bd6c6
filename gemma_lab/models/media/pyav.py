"""Files of FFmpeg's many formats, decoded with PyAV: the frames of a video, the samples of a sound."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadMedia, MissingExtra
from .images import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

#: A wanted frame that is further ahead than this, in seconds, is jumped to; a nearer one is decoded up to.
_JUMP = 4.0
#: Longest sound that is decoded, in seconds; a longer one is only measured.
_MOST_SECONDS = 3600.0


@dataclass(frozen=True)
class Film:
    """What a video file says of itself: frames a second, how many there are, and their size in pixels."""

    fps: Fraction
    frames: int
    width: int
    height: int


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
            hint='pip install "gemma_lab[video]". Without it: WAV files, arrays, and frames as pictures.',
        ) from error
    return av


@contextmanager
def film(source: Path | bytes, what: str) -> Iterator[tuple[Any, Any, Film]]:
    """Open a video: its container, its stream of pictures, and what it says of itself.

    Raises
    ------
    BadMedia
        If it is broken (also where it turns out while it is read), has no pictures, or they are too large.
    """
    with _opened(source, what, noun="video") as container:
        if not container.streams.video:
            raise BadMedia(f"{what} holds no pictures.", hint="Pass a sound as audio=….")
        stream = container.streams.video[0]
        width, height = stream.codec_context.width, stream.codec_context.height
        if not width or not height or width * height > MAX_PIXELS:
            raise BadMedia(
                f"The frames of {what} have {width:,} × {height:,} pixels; at least one and at most "
                f"{MAX_PIXELS / 1e6:.0f} Mpx are decoded.",
                hint="Convert it to a smaller size first.",
            )
        stream.thread_type = "AUTO"
        fps = Fraction(stream.average_rate or stream.guessed_rate or 24)
        yield container, stream, Film(fps, _count(container, stream, fps), width, height)


def _count(container: Any, stream: Any, fps: Fraction) -> int:
    """Return how many frames a stream has: as its header says, or by its length, or by looking."""
    if stream.frames:
        return int(stream.frames)
    if stream.duration and stream.time_base:
        return max(1, round(Fraction(stream.duration) * Fraction(stream.time_base) * fps))
    if container.duration:
        return max(1, round(Fraction(container.duration, 1_000_000) * fps))
    count = sum(1 for packet in container.demux(stream) if packet.size)  # no header says: count, then rewind
    container.seek(0)
    return max(1, count)


def frames_at(
    container: Any, stream: Any, shape: Film, wanted: Sequence[int]
) -> Iterator[tuple[Image, Fraction]]:
    """Yield the frames with the given numbers, in order, each with its time in seconds from the beginning.

    A number stands for the time ``number / fps``: the frame that is shown then. Fewer come if the file ends
    early.
    """
    begin = Fraction(stream.start_time or 0) * (stream.time_base or 1)
    frames, clock, held = container.decode(stream), Fraction(-1), None
    for number in wanted:
        target = number / shape.fps
        if target - clock > _JUMP and number:
            container.seek(int((target + begin) / stream.time_base), stream=stream, backward=True)
            frames = container.decode(stream)
        while held is None or clock + 1 / (2 * shape.fps) < target:
            held = next(frames, None)
            if held is None:
                return
            clock = _time(held, stream, begin, clock, shape.fps)
        yield _upright(held), clock


def _time(frame: Any, stream: Any, begin: Fraction, before: Fraction, fps: Fraction) -> Fraction:
    if frame.pts is None:
        return before + 1 / fps if before >= 0 else Fraction(0)
    return max(Fraction(0), Fraction(frame.pts) * Fraction(frame.time_base or stream.time_base) - begin)


def _upright(frame: Any) -> Image:
    image: Image = frame.to_image()
    turned = int(getattr(frame, "rotation", 0) or 0)  # counter-clockwise, as a telephone notes it
    return image.rotate(turned, expand=True) if turned else image


def decoded_sound(
    data: bytes, what: str, *, until: float, whole: bool = True
) -> tuple[NDArray[np.float32], int, int]:
    """Return the samples of a sound, mono, with its rate and its number of channels.

    Parameters
    ----------
    data
        The file.
    what
        How to call it in an error.
    until
        Where the part that is wanted ends, in seconds. What comes later is not kept.
    whole
        Count on to the end, so that the length is known: the samples that were not kept are zeros.

    Raises
    ------
    BadMedia
        If it is broken, or there is no sound in it.
    MissingExtra
        If PyAV is not installed.
    """
    av = library()
    with _opened(data, what, noun="sound") as container:
        if not container.streams.audio:
            raise BadMedia(f"{what} holds no sound.", hint="Pass pictures as images=…, a video as video=….")
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
        same = av.AudioResampler(format="fltp")  # the layout stays: channels are averaged here
        kept, count = [], 0
        for frame in container.decode(stream):
            for block in same.resample(frame):
                if count <= until * rate:
                    kept.append(block.to_ndarray().mean(axis=0, dtype=np.float32))
                count += block.samples
            if not whole and count > until * rate:
                break
            if count > _MOST_SECONDS * rate:
                raise BadMedia(
                    f"{what} is longer than {_MOST_SECONDS / 3600:.0f} h.",
                    hint="Say where the part ends that you mean: stop=….",
                )
    if not count:
        raise BadMedia(f"The sound is empty: {what} holds no samples.", hint="Check how it was written.")
    samples = np.zeros(count, np.float32)
    read = np.concatenate(kept)
    samples[: len(read)] = read
    return samples, int(rate), int(channels)


@contextmanager
def _opened(source: Path | bytes, what: str, *, noun: str) -> Iterator[Any]:
    av = library()
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source.resolve())
    try:
        # a playlist must not make FFmpeg fetch what it names
        with av.open(file, metadata_errors="replace", options={"protocol_whitelist": "file"}) as container:
            yield container
    except (av.FFmpegError, EOFError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise BadMedia(
            f"{what} is no {noun} that can be read, or it is broken: {said}.",
            hint="Fetch or export it again.",
        ) from error
