"""The frames of a video file, by their number in stream order, read with PyAV."""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import BadMedia
from .images import MAX_PIXELS, on_white
from .pyav import open_container
from .timeline import Timeline

#: A keyframe at least this many frames ahead is sought; a nearer one is decoded up to.
_SEEK_FROM = 12
#: Frames per second of a file that gives neither times nor a rate.
_DEFAULT_RATE = 25
#: FFmpeg's disposition of the cover image of an audio file.
_ATTACHED_PICTURE = 0x400
_AGAIN = "Download or export it again."
#: Clocks of two streams that begin within this time begin together, in seconds.
_TOGETHER = Fraction(1, 1000)


class IndexMismatch(Exception):
    """The decoder's frames are not those that the file's packets announced."""


@dataclass(frozen=True)
class _Index:
    """The frames of a stream.

    Attributes
    ----------
    pts
        Their times in the stream's time base, ascending: frame n in stream order has ``pts[n]``.
    tick
        The time base, in seconds.
    duration
        Of the last frame, in ticks; 0 if the file does not say.
    keys
        Numbers of the frames at which decoding can begin, ascending; empty if frames were numbered by
        decoding, and are found again by counting.
    """

    pts: Sequence[int]
    tick: Fraction
    duration: int
    keys: Sequence[int] = ()


class VideoFile:
    """A video file and the times of its frames.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    what
        How to call it in an error.
    decode
        Number the frames by decoding all of them, instead of by the file's packets. That takes longer, and is
        done anyway where packets have no times of their own.

    Attributes
    ----------
    timeline
        When each frame is shown, from the beginning of the file: its first sound or its first frame.

    Raises
    ------
    BadMedia
        If it is broken, has no pictures, or they are too large.
    MissingExtra
        If PyAV is not installed.
    """

    def __init__(self, source: Path | bytes, what: str, *, decode: bool = False) -> None:
        self._source, self._what = source, what
        with self._opened() as (container, stream):
            sound = _first_sound(container)
            end = (stream.start_time or 0) + (stream.duration or 0)
            index = None if decode else _index_by_packets(container, stream)
        if index is None:
            with self._opened() as (container, stream):
                index = _index_by_decoding(container, stream)
        if not index.pts:
            raise BadMedia(f"{what} holds no frame that can be decoded.", hint=_AGAIN)
        self._index = index
        self.timeline = _timeline(index, sound, end)

    @property
    def size(self) -> tuple[int, int]:
        """``(width, height)`` of the first frame, upright, in pixels."""
        with self._opened() as (container, stream):
            for frame in container.decode(stream):
                return _upright(frame).size
        raise BadMedia(f"{self._what} holds no frame that can be decoded.", hint=_AGAIN)

    def images(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
        """Yield the frames with the given ascending numbers, upright, decoding no more than one at a time.

        Raises
        ------
        IndexMismatch
            If a frame that the packets announced does not come: open the file again with ``decode=True``.
        """
        if not self._index.keys:
            wanted = set(numbers)
            with self._opened() as (container, stream):
                for number, frame in enumerate(container.decode(stream)):
                    if number in wanted:
                        yield _upright(frame)
                    if number == numbers[-1]:
                        return
            raise BadMedia(f"{self._what} is broken: frames are missing.", hint=_AGAIN)
        pending, seek = list(numbers), True
        while pending:  # a second time, without seeking, if a seek led past the frame
            with self._opened() as (container, stream):
                for image in self._sought(container, stream, pending, seek=seek):
                    yield image
                    pending = pending[1:]
            if pending and not seek:
                raise IndexMismatch
            seek = False

    def _sought(
        self, container: Any, stream: Any, numbers: list[int], *, seek: bool
    ) -> Iterator[Image.Image]:
        """Yield frames, decoding each from the keyframe before it; end early where one does not come."""
        pts, keys = self._index.pts, self._index.keys
        frames, now = container.decode(stream), None
        for number in numbers:
            key = keys[max(0, bisect_right(keys, number) - 1)]
            if seek and key - (-1 if now is None else bisect_left(pts, now)) >= _SEEK_FROM:
                container.seek(pts[key], stream=stream, backward=True)
                frames, now = container.decode(stream), None
            while now is None or now < pts[number]:
                frame = next(frames, None)
                if frame is None or frame.pts is None or (now is not None and frame.pts <= now):
                    return
                now = frame.pts
            if now > pts[number]:
                return
            yield _upright(frame)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any]]:
        with open_container(self._source, self._what, noun="video") as container:
            stream = _video_stream(container, self._what)
            codec = stream.codec_context
            if codec is None:
                raise BadMedia(
                    f"The pictures of {self._what} have a coding that FFmpeg cannot read.", hint=_AGAIN
                )
            width, height = codec.width, codec.height
            if not width or not height or width * height > MAX_PIXELS:
                raise BadMedia(
                    f"The frames of {self._what} have {width:,} × {height:,} pixels; from one to "
                    f"{MAX_PIXELS / 1e6:.0f} Mpx are decoded.",
                    hint="Convert it to a smaller size first.",
                )
            stream.thread_type = "AUTO"
            yield container, stream


def _video_stream(container: Any, what: str) -> Any:
    """Return the stream of pictures; a cover only if there is no other."""
    streams = sorted(
        container.streams.video,
        # older releases of PyAV have no disposition: there a cover is taken if it comes first
        key=lambda stream: bool(int(getattr(stream, "disposition", 0)) & _ATTACHED_PICTURE),
    )
    if not streams:
        raise BadMedia(f"{what} has no video stream.", hint="Pass a sound as audio=….")
    return streams[0]


def _index_by_packets(container: Any, stream: Any) -> _Index | None:
    """Number the frames by the times of their packets; None if packets do not determine them."""
    if container.format.name == "avi" and stream.codec_context.has_b_frames:
        return None  # packets have the times at which they are decoded
    packets = []
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:  # before the beginning of an edit list
            continue
        if stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10:
            continue  # a reference that is not shown: RFC 6386, section 9.1
        if packet.pts is None:
            return None
        packets.append((packet.pts, packet.is_keyframe, packet.duration or 0))
    packets.sort()
    pts = [packet[0] for packet in packets]
    keys = [number for number, packet in enumerate(packets) if packet[1]]
    if not keys or any(a == b for a, b in pairwise(pts)):
        return None
    return _Index(pts, Fraction(stream.time_base), packets[-1][2], keys)


def _index_by_decoding(container: Any, stream: Any) -> _Index:
    """Number the frames as the decoder returns them, in the order in which they are shown."""
    decoded = [(frame.pts, frame.duration or 0) for frame in container.decode(stream)]
    pts = sorted(time for time, _ in decoded if time is not None)
    if len(pts) < len(decoded):
        rate = Fraction(stream.average_rate or _DEFAULT_RATE)
        return _Index(range(len(decoded)), 1 / rate, 1)
    # sorted, because AVI has the times of decoding: one for each frame, but not in the order of the frames
    for number in range(1, len(pts)):
        pts[number] = max(pts[number], pts[number - 1] + 1)
    return _Index(pts, Fraction(stream.time_base), decoded[-1][1] if decoded else 0)


def _first_sound(container: Any) -> Fraction | None:
    """Return when the first sound of a file begins, in seconds of the file's clock; None without a sound."""
    streams = [stream for stream in container.streams.audio if stream.start_time is not None]
    times = [Fraction(stream.start_time) * Fraction(stream.time_base) for stream in streams]
    return max(Fraction(0), min(times)) if times else None


def _timeline(index: _Index, sound: Fraction | None, end: int) -> Timeline:
    """Return the frames' times from the beginning of the file.

    Parameters
    ----------
    index
        The frames.
    sound
        When its first sound begins, in seconds of its clock; None without a sound.
    end
        When the stream of pictures ends by the file's header, in ticks of its clock; 0 if it does not say.
    """
    first, last = index.pts[0], index.pts[-1]
    usual = index.pts[-1] - index.pts[-2] if len(index.pts) > 1 else round(1 / (_DEFAULT_RATE * index.tick))
    end = max(last + (index.duration or usual), end)
    zero = first if sound is None else min(first, round(sound / index.tick))
    if first - zero < _TOGETHER / index.tick:
        zero = first
    return Timeline([time - zero for time in index.pts], index.tick, end - zero)


def _upright(frame: Any) -> Image.Image:
    """Return a frame as RGB, turned and mirrored as its display matrix says."""
    if any(component.is_alpha for component in frame.format.components):
        image = on_white(Image.fromarray(frame.to_ndarray(format="rgba")))
    else:
        image = frame.to_image()
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except (
        ValueError
    ):  # PyAV lists no frame's side data if one is of a type that it does not know, such as EXIF
        return image.rotate(frame.rotation, expand=True)
    return image if matrix is None else _displayed(image, bytes(matrix))


def _displayed(image: Image.Image, matrix: bytes) -> Image.Image:
    """Apply a display matrix of FFmpeg: nine int32, of which ``a b / c d`` map (x, y) to the screen.

    Source: ``libavutil/display.h``: x' = a·x + c·y and y' = b·x + d·y, y pointing down. Matrices that are no
    quarter turns are applied by the quarter that is nearest.
    """
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        if a < 0:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if d < 0 else image
    image = image.transpose(Image.Transpose.TRANSPOSE)  # x and y change places
    if c < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if b < 0 else image
