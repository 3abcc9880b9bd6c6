"""Videos: some of their frames, each with its time, as many as the models take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from PIL import ImageOps

from ...display import Displayed
from ...errors import BadMedia
from .animations import Animation, is_animation
from .arguments import check_frames, check_rate, check_span, split_rate
from .images import image_size, load_image
from .sources import is_file, is_path, name_of, ordinary_path, read_file
from .timeline import Timeline, fraction, sample_indices
from .video_file import IndexMismatch, VideoFile

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

#: Frames that a Gemma 4 is given: ``num_frames`` of ``Gemma4VideoProcessor``, uniformly sampled.
DEFAULT_FRAMES = 32
#: Maximum number of frames; each costs up to 70 tokens, and a few for its timestamp.
MAX_FRAMES = 1024
#: Pixels of all frames of one file together: 900 MB as RGB. More are scaled down as they are decoded.
MAX_VIDEO_PIXELS = 300_000_000
_MICROSECOND = Fraction(1, 1_000_000)

_ACCEPTED = (
    "Give a path, the bytes of a file, an open file, or frames with their rate: (frames, 2.0) for 2 per "
    "second. gemma_lab.load_video(…) opens a file, cuts it and samples its frames."
)


@dataclass(frozen=True, eq=False)
class Video(Displayed):
    """A video as the models take it: some frames, each with its time.

    `gemma_lab.load_video` makes one.

    Attributes
    ----------
    frames
        RGB images of one size.
    times
        When each is shown, in seconds from the beginning of the source.
    total
        Number of frames of the part that they were sampled from.
    name
        Its name in views: the file's name, or ``"video"``.
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
        """Return the metadata for transformers' video processor.

        Its timestamps are ``frames_indices / fps``; with indices in milliseconds they are `times`.
        """
        width, height = self.size
        milliseconds = [math.floor(1000 * time + 1e-6) for time in self.times]
        return {
            "total_num_frames": self.total,
            "fps": 1000.0,
            "frames_indices": milliseconds,
            "width": width,
            "height": height,
            "duration": self.times[-1],
        }

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
        A path, the bytes of a file or a file open for reading bytes: GIF, APNG and WebP animations and, with
        the extra ``video``, any format of FFmpeg. Or frames with their rate, as a pair ``(frames, fps)`` or
        an object with ``frames`` and ``fps``; frames alone (with `fps`): what `load_image` accepts, or an
        array ``(frames, height, width, 3)``. Or a `Video`, of which fewer frames are taken.
    frames
        How many frames are taken at most; default 32, as the models' processor does.
    fps
        Of frames: their rate per second. Of a file or a `Video`: how many frames per second are taken,
        instead of `frames`; each is the one on screen then, the last whose time is not after it.
    start, stop
        Seconds between which they are taken; beginning and end by default. The frame on screen at `start` is
        the first one, also if it began before.

    Returns
    -------
    Video
        Its repr says which of how many frames were taken.

    Raises
    ------
    BadMedia
        If it cannot be read, has no frames, frames of several sizes or too large ones, or no rate is known.
    MissingExtra
        If it is a file that needs PyAV, which is not installed.

    Notes
    -----
    Frames are in display order, at regular or irregular times. Of ``total`` frames, those with the indices
    ``i · total // frames`` are taken (transformers, ``default_sample_indices_fn``), each once.
    """
    start, stop = check_span(start, stop)
    frames, fps = check_frames(frames, MAX_FRAMES), _checked_fps(fps)
    if is_file(source):
        return _from_file(source, frames, fps, start, stop)
    if isinstance(source, Video):
        if frames is fps is start is stop is None:
            return source
        part, numbers = _of_video(source, frames, fps, start, stop)
        images = tuple(source.frames[number] for number in numbers)
        return Video(images, tuple(source.times[number] for number in numbers), source.total, source.name)
    pictures, fps = _with_rate(source, fps)
    timeline, part, numbers = _of_frames(pictures, fps, frames, start, stop)
    images = tuple(load_image(pictures[number]) for number in numbers)
    _check_sizes(sorted({image.size for image in images}))
    return Video(images, tuple(timeline.time(number) for number in numbers), len(part))


@dataclass(frozen=True)
class VideoShape:
    """What `load_video` would return, without the pixels.

    Attributes
    ----------
    size
        ``(width, height)`` of the frames in pixels.
    times
        When each sampled frame is shown, in seconds.
    total
        How many frames the part had that they were taken from.
    """

    size: tuple[int, int]
    times: tuple[float, ...]
    total: int


def video_shape(
    source: Any,
    *,
    frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    stop: float | None = None,
) -> VideoShape:
    """Return size and times of the frames that `load_video` would take; at most one frame is decoded.

    If the packets of a file do not determine its frames, all are decoded one by one, and none is kept.

    Parameters
    ----------
    source, frames, fps, start, stop
        As for `load_video`. An open file is left at its beginning.

    Raises
    ------
    BadMedia, MissingExtra
        As `load_video`, for what does not need the pixels.
    """
    start, stop = check_span(start, stop)
    frames, fps = check_frames(frames, MAX_FRAMES), _checked_fps(fps)
    if is_file(source):
        file, what, _ = _opened(source)
        if hasattr(source, "seek"):
            source.seek(0)
        part, numbers = _chosen(file.timeline, what, frames, fps, start, stop)
        size = _scaled(file.size, len(numbers))
        return VideoShape(size, tuple(file.timeline.time(number) for number in numbers), len(part))
    if isinstance(source, Video):
        part, numbers = _of_video(source, frames, fps, start, stop)
        return VideoShape(source.size, tuple(source.times[number] for number in numbers), source.total)
    pictures, fps = _with_rate(source, fps)
    timeline, part, numbers = _of_frames(pictures, fps, frames, start, stop)
    sizes = sorted({image_size(pictures[number]) for number in numbers})
    _check_sizes(sizes)
    return VideoShape(sizes[0], tuple(timeline.time(number) for number in numbers), len(part))


def _checked_fps(fps: Any) -> float | None:
    return None if fps is None else check_rate("fps", fps, minimum=0.001, maximum=1000, example="1")


def _with_rate(source: Any, fps: float | None) -> tuple[Any, float]:
    """Return a sequence or an array of pictures, and their rate."""
    rate = None
    if hasattr(source, "frames") and hasattr(source, "fps"):
        source, rate = source.frames, source.fps
    else:
        source, rate = split_rate(source)
    shape = getattr(source, "shape", None)
    if shape is None and not isinstance(source, list | tuple):
        raise BadMedia(f"A value of type {type(source).__name__} is not a video.", hint=_ACCEPTED)
    if shape is not None and len(shape) != 4:
        raise BadMedia(
            f"An array of shape {tuple(shape)} is not a video.",
            hint="It must be (frames, height, width, channel), with its rate: (array, 2.0).",
        )
    if not len(source):
        raise BadMedia("The video is empty: no frames.", hint="It needs at least one frame.")
    rate = fps if fps is not None else rate
    if rate is None:
        raise BadMedia(
            f"{len(source):,} frames are a video only with their rate.",
            hint="Pass the two together: video=(frames, 2.0) for 2 frames per second.",
        )
    return source, check_rate("fps", rate, minimum=0.001, maximum=1000, example="1")


def _of_frames(
    pictures: Any, fps: float, frames: int | None, start: float | None, stop: float | None
) -> tuple[Timeline, range, list[int]]:
    timeline = Timeline(range(len(pictures)), 1 / fraction(fps), len(pictures))
    what = f"The video of {len(pictures):,} frames"
    return timeline, *_chosen(timeline, what, frames, None, start, stop)


def _of_video(
    video: Video, frames: int | None, fps: float | None, start: float | None, stop: float | None
) -> tuple[range, list[int]]:
    """Return the frames of a part of a video that was sampled before, and which of them are taken."""
    ticks = [round(time / _MICROSECOND) for time in video.times]
    last = ticks[-1] - ticks[-2] if len(ticks) > 1 else round(1 / _MICROSECOND)
    timeline = Timeline(ticks, _MICROSECOND, ticks[-1] + last)
    return _chosen(timeline, repr(video), frames or len(ticks) if fps is None else None, fps, start, stop)


def _from_file(
    source: Any, frames: int | None, fps: float | None, start: float | None, stop: float | None
) -> Video:
    """Decode the frames that are sampled, one at a time, and no others where the file can be sought in."""
    for decode in (False, True):
        file, what, name = _opened(source, decode=decode)
        part, numbers = _chosen(file.timeline, what, frames, fps, start, stop)
        try:
            images = _collected(file.images(numbers), len(numbers))
        except IndexMismatch:
            continue
        times = tuple(file.timeline.time(number) for number in numbers)
        return Video(images, times, len(part), name)
    raise BadMedia(f"{what} is broken: its frames cannot be numbered.", hint="Download or export it again.")


def _opened(source: Any, *, decode: bool = False) -> tuple[VideoFile | Animation, str, str]:
    """Open a file: its frames, how to call it in an error, and its name."""
    name = name_of(source, "video")
    opened: Path | bytes
    if is_path(source):
        path, what = ordinary_path(source, noun="video", accepted=_ACCEPTED)
        with path.open("rb") as file:
            opened, head = path, file.read(16)
    else:
        data, what = read_file(source, noun="video", accepted=_ACCEPTED)
        opened, head = data, data[:16]
    if is_animation(head):
        return Animation(opened, what), what, name
    return VideoFile(opened, what, decode=decode), what, name


def _chosen(
    timeline: Timeline,
    what: str,
    frames: int | None,
    fps: float | None,
    start: float | None,
    stop: float | None,
) -> tuple[range, list[int]]:
    """Return the frames of the part between `start` and `stop`, and those of them that are sampled."""
    part = timeline.part(start, stop)
    if not part:
        raise BadMedia(
            f"{what} is {timeline.seconds:.2f} s long and its first frame is at {timeline.time(0):.2f} s: no "
            f"frame is shown between {start or 0:g} s and {'the end' if stop is None else f'{stop:g} s'}.",
            hint="Choose another start and stop.",
        )
    if frames is not None or fps is None:
        return part, [part[number] for number in sample_indices(len(part), frames or DEFAULT_FRAMES)]
    numbers = timeline.at_rate(part, fps, start)
    if len(numbers) > MAX_FRAMES:
        raise BadMedia(
            f"{fps:g} frames per second of {what} are {len(numbers):,}; at most {MAX_FRAMES:,} are taken.",
            hint="Lower fps, or cut out a part with start and stop.",
        )
    return part, numbers


def _collected(images: Iterator[Image], count: int) -> tuple[Image, ...]:
    """Collect frames of one size; scaled down if all together would have more than `MAX_VIDEO_PIXELS`."""
    frames: list[Image] = []
    size = (0, 0)
    for image in images:
        size = size if frames else _scaled(image.size, count)
        # a stream may change its size, as a shared screen does: players scale it to the first
        frames.append(image if image.size == size else ImageOps.pad(image, size))
    return tuple(frames)


def _scaled(size: tuple[int, int], count: int) -> tuple[int, int]:
    """Return the size at which `count` frames together have at most `MAX_VIDEO_PIXELS`."""
    width, height = size
    scale = min(1.0, math.sqrt(MAX_VIDEO_PIXELS / (count * width * height)))
    return max(1, int(width * scale)), max(1, int(height * scale))


def _check_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    if len(sizes) > 1:
        listed = ", ".join(f"{width} × {height}" for width, height in sizes[:4])
        raise BadMedia(
            f"The frames of a video have one size; these have {listed} pixels.",
            hint="Resize them, or pass them as images=[…].",
        )
