"""Small video files with chosen times: frame n is a gray of 8 · n (modulo 256)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)
#: container, encoder, pixel format, and the step of its clock in seconds
FORMATS = {
    "mp4 h264": ("mp4", "libx264", "yuv420p", Fraction(1, 1000)),
    "mp4 mpeg4": ("mp4", "mpeg4", "yuv420p", Fraction(1, 1000)),
    "mov mjpeg": ("mov", "mjpeg", "yuvj420p", Fraction(1, 1000)),
    "mkv h264": ("matroska", "libx264", "yuv420p", Fraction(1, 1000)),
    "mkv ffv1": ("matroska", "ffv1", "yuv420p", Fraction(1, 1000)),
    "webm vp8": ("webm", "libvpx", "yuv420p", Fraction(1, 1000)),
    "webm vp9": ("webm", "libvpx-vp9", "yuv420p", Fraction(1, 1000)),
    "ts h264": ("mpegts", "libx264", "yuv420p", Fraction(1, 1000)),
    "avi mpeg4": ("avi", "mpeg4", "yuv420p", Fraction(1, 100)),
    "nut ffv1": ("nut", "ffv1", "yuv420p", Fraction(1, 1000)),
    "gif": ("gif", "gif", "rgb8", Fraction(1, 100)),
    "apng": ("apng", "apng", "rgb24", Fraction(1, 1000)),
}
ANIMATIONS = ("GIF", "PNG", "WEBP")


def gray(number: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return the frame with a number."""
    return Image.new("RGB", size, (8 * number % 256,) * 3)


def video_file(
    times: Sequence[float],
    kind: str = "mp4 h264",
    *,
    frames: Sequence[Image.Image] | None = None,
    sound: float = 0,
    matrix: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> bytes:
    """Return a video file whose frames are shown at `times`, seconds, with `sound` seconds of silence."""
    import av

    container, codec, pixels, tick = FORMATS[kind]
    frames = frames or [gray(number) for number in range(len(times))]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(
            codec, rate=round(1 / tick) if container == "avi" else 30, options=options or {}
        )
        stream.width, stream.height = frames[0].size
        stream.pix_fmt, stream.codec_context.time_base = pixels, tick
        stream.bit_rate = 4_000_000
        if matrix is not None:
            stream.set_display_matrix(matrix)
        audio: Any = out.add_stream("libopus", rate=48_000, layout="mono") if sound else None
        for time, image in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = round(time / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        for start in range(0, round(48_000 * sound), 960):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
            block.rate, block.pts, block.time_base = 48_000, start, Fraction(1, 48_000)
            out.mux(audio.encode(block))
        if audio is not None:
            out.mux(audio.encode())
    return file.getvalue()


def animation(durations: Sequence[int], kind: str, frames: Sequence[Image.Image] | None = None) -> bytes:
    """Return an animation that Pillow writes, each frame shown for `durations`, milliseconds."""
    frames = frames or [gray(number) for number in range(len(durations))]
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        file,
        kind,
        save_all=True,
        append_images=list(frames[1:]),
        duration=list(durations),
        loop=0,
        **options,
    )
    return file.getvalue()


def numbers(video: Any) -> list[int]:
    """Return which frames a video has, by their gray: right below 32 frames."""
    return [round(float(np.asarray(frame, dtype=float).mean()) / 8) for frame in video.frames]


def mp3_with_cover(seconds: float = 2) -> bytes:
    """Return an MP3 file with a cover picture."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp3") as out:
        audio: Any = out.add_stream("libmp3lame", rate=44_100, layout="mono")
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        frame = av.VideoFrame.from_image(Image.new("RGB", (64, 64), "red"))
        frame.pts = 0
        for packet in [*cover.encode(frame), *cover.encode()]:
            out.mux(packet)
        for start in range(0, round(44_100 * seconds), 1152):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            block.rate, block.pts = 44_100, start
            out.mux(audio.encode(block))
        out.mux(audio.encode())
    return file.getvalue()
