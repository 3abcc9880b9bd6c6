"""Videos on their way in: frames with the times when they were taken, as many as the models look at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...display import Displayed
from ...errors import BadMedia
from .images import load_image
from .pyav import film, frames_at
from .sources import is_file, ordinary_path, read_file
from .time_spans import checked_span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL.Image import Image

#: Frames that a Gemma 4 looks at: ``num_frames`` of ``Gemma4VideoProcessor``, uniformly sampled.
DEFAULT_FRAMES = 32
#: Most frames that can be asked for; each costs up to 70 tokens, and a few for its timestamp.
MAX_FRAMES = 1024

_ACCEPTED = (
    "Give a path, the bytes of a file, an open file, or frames with their rate: (frames, 2.0) for 2 a "
    "second. gemma_lab.load_video(…) opens one, cuts it and says how many frames are taken."
)


@dataclass(frozen=True, eq=False)
class Video(Displayed):
    """A video as the models take it: some frames, each with its time.

    `gemma_lab.load_video` makes one.

    Attributes
    ----------
    frames
        RGB pictures of one size: what the model sees.
    times
        When each was taken, in seconds from the beginning of the source.
    total
        How many frames the part had that they were taken from.
    name
        What it is called in views: the file's name, or ``"video"``.
    """

    frames: tuple[Image, ...] = field(repr=False)
    times: tuple[float, ...]
    total: int
    name: str = "video"

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` of its frames in pixels."""
        width, height = self.frames[0].size
        return width, height

    @property
    def timestamps(self) -> tuple[str, ...]:
        """The ``mm:ss`` that the chat format writes before each frame, cut to whole seconds."""
        return tuple(format_timestamp(time) for time in self.times)

    def metadata(self) -> dict[str, Any]:
        """Return what transformers' video processor is told: its timestamps are ``frames_indices / fps``.

        The indices are milliseconds, so that any times can be said.
        """
        width, height = self.size
        milliseconds = [math.floor(1000 * time + 1e-6) for time in self.times]
        return {
            "total_num_frames": self.total, "fps": 1000.0, "frames_indices": milliseconds,
            "width": width, "height": height, "duration": self.times[-1],
        }  # fmt: skip

    def __repr__(self) -> str:
        width, height = self.size
        count = len(self.frames)
        some = f"{count:,}" if count == self.total else f"{count:,} of {self.total:,}"
        span = f"{self.times[0]:.2f} to {self.times[-1]:.2f} s" if count > 1 else f"at {self.times[0]:.2f} s"
        plural = "" if self.total == 1 else "s"
        return f"Video({self.name}: {some} frame{plural}, {span}, {width} × {height})"


def format_timestamp(seconds: float) -> str:
    """Return a time as the chat format writes it before a frame: ``mm:ss``, cut to whole seconds."""
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


def load_video(
    source: Any,
    *,
    frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> Video:
    """Return a video as the models take it: frames sampled uniformly, each with its time.

    Parameters
    ----------
    source
        A path, the bytes of a file or a file open for reading bytes (with the extra ``video``: whatever
        FFmpeg reads); frames with their rate, as a pair ``(frames, fps)`` or an object with ``frames`` and
        ``fps``; frames alone (with `fps`): whatever `load_image` takes, or an array
        ``(frames, height, width, 3)``; or a `Video`.
    frames
        How many frames are taken at most; default 32, as the models' processor does.
    fps
        Of frames: how many a second they are. Of a file: how many a second are taken, instead of `frames`.
    start, stop
        Seconds between which they are taken; beginning and end by default.

    Returns
    -------
    Video
        Its repr says which of how many frames were taken.

    Raises
    ------
    BadMedia
        If it cannot be read, has no frames, frames of several sizes or too large ones, or no rate is known.
    MissingExtra
        If it is a file and PyAV is not installed.

    Notes
    -----
    Of ``total`` frames those with the numbers ``i · total // frames`` are taken (transformers,
    ``default_sample_indices_fn``).
    """
    checked_span(start, stop)
    _checked_counts(frames, fps)
    if isinstance(source, Video):
        return _cut(source, frames, start, stop)
    if is_file(source):
        return _from_file(source, frames, fps, start, stop)
    if hasattr(source, "frames") and hasattr(source, "fps"):
        source, fps = source.frames, source.fps if fps is None else fps
    elif isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], int | float):
        source, fps = source[0], source[1] if fps is None else fps
    if not hasattr(source, "__array__") and not isinstance(source, list | tuple):
        raise BadMedia(f"A {type(source).__name__} is no video.", hint=_ACCEPTED)
    return _from_frames(source, frames, fps, start, stop)


def sample_indices(total: int, frames: int) -> list[int]:
    """Return the numbers of the frames that are taken of `total`: all, or `frames` of them, uniformly."""
    return [number * total // frames for number in range(frames)] if frames < total else list(range(total))


def _checked_counts(frames: Any, fps: Any) -> None:
    if frames is not None and (
        isinstance(frames, bool) or not isinstance(frames, int) or not 1 <= frames <= MAX_FRAMES
    ):
        raise BadMedia(
            f"frames={frames!r} is no number of frames from 1 to {MAX_FRAMES:,}.",
            hint="For example frames=16.",
        )
    if fps is not None and (
        isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.001 <= fps <= 1000
    ):
        raise BadMedia(f"fps={fps!r} is no number of frames a second.", hint="For example fps=1.")


def _from_file(
    source: Any, frames: int | None, fps: float | None, start: float | None, stop: float | None
) -> Video:
    """Decode the frames that are wanted, and no others where the file can be jumped in."""
    if isinstance(source, str | Path):
        path, what = ordinary_path(source, noun="video", accepted=_ACCEPTED)
        opened: Path | bytes = path
        name = path.name
    else:
        opened, what = read_file(source, noun="video", accepted=_ACCEPTED)
        name = "video"
    with film(opened, what) as (container, stream, shape):
        first = math.ceil((start or 0) * shape.fps)
        last = shape.frames if stop is None else min(shape.frames, math.ceil(stop * shape.fps))
        if first >= last:
            raise BadMedia(
                f"{what} is {float(shape.frames / shape.fps):.2f} s long: nothing lies from {start or 0:g} s "
                "on.",
                hint="Choose an earlier start.",
            )
        count = _wanted_count(last - first, shape.fps, frames, fps)
        numbers = [first + number for number in sample_indices(last - first, count)]
        read = list(frames_at(container, stream, shape, numbers))
    if not read:
        raise BadMedia(f"{what} holds no frame that can be decoded.", hint="Fetch or export it again.")
    shown, times = zip(*read, strict=True)
    return Video(tuple(image.convert("RGB") for image in shown), tuple(map(float, times)), last - first, name)


def _wanted_count(total: int, rate: Fraction, frames: int | None, fps: float | None) -> int:
    if frames is not None or fps is None:
        return min(frames or DEFAULT_FRAMES, total)
    count = max(1, int(total / rate * Fraction(fps)))
    if count > MAX_FRAMES:
        raise BadMedia(
            f"{fps:g} frames a second of {float(total / rate):.1f} s are {count:,}; at most {MAX_FRAMES:,} "
            "are taken.",
            hint="Lower fps, or cut out a part with start and stop.",
        )
    return min(count, total)


def _from_frames(
    source: Any, frames: int | None, fps: float | None, start: float | None, stop: float | None
) -> Video:
    shape = getattr(source, "shape", None)
    if shape is not None and len(shape) != 4:
        raise BadMedia(
            f"An array of shape {tuple(shape)} is no video.",
            hint="It must be (frames, height, width, channel), with its rate: (array, 2.0).",
        )
    total = len(source)
    if not total:
        raise BadMedia("The video is empty: no frames.", hint="It needs at least one frame.")
    if fps is None:
        raise BadMedia(
            f"{total:,} frames are a video only with their rate.",
            hint="Pass the two together: video=(frames, 2.0) for 2 frames a second.",
        )
    _checked_counts(frames, fps)
    times = [number / fps for number in range(total)]
    inside = [number for number in range(total) if (start or 0) <= times[number] < (stop or math.inf)]
    if not inside:
        raise BadMedia(
            f"The video is {total / fps:g} s long: no frame lies from {start or 0:g} s on.",
            hint="Choose an earlier start.",
        )
    chosen = [inside[number] for number in sample_indices(len(inside), frames or DEFAULT_FRAMES)]
    pictures = tuple(load_image(source[number]) for number in chosen)
    _one_size(pictures)
    return Video(pictures, tuple(times[number] for number in chosen), len(inside))


def _one_size(pictures: Sequence[Image]) -> None:
    sizes = sorted({image.size for image in pictures})
    if len(sizes) > 1:
        raise BadMedia(
            "The frames of a video have one size; these have "
            + ", ".join(f"{width} × {height}" for width, height in sizes[:4]) + " pixels.",
            hint="Resize them, or pass them as images=[…].",
        )  # fmt: skip


def _cut(source: Video, frames: int | None, start: float | None, stop: float | None) -> Video:
    """Take fewer frames, or a part, of a video that was opened before."""
    if frames is None and start is None and stop is None:
        return source
    inside = np.flatnonzero([(start or 0) <= time < (stop or math.inf) for time in source.times]).tolist()
    if not inside:
        raise BadMedia(
            f"{source!r} has no frame from {start or 0:g} s on.", hint="Open its source with start and stop."
        )
    chosen = [inside[number] for number in sample_indices(len(inside), frames or len(inside))]
    return Video(
        tuple(source.frames[number] for number in chosen),
        tuple(source.times[number] for number in chosen), source.total, source.name,
    )  # fmt: skip
