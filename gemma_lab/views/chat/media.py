"""Videos and sounds as script-free HTML: frames with their times, the waveform, a player."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from ..base.html import Markup, bdi, escape
from .chat import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from PIL.Image import Image

    from ...models.media import Audio, Video

#: Longest side of a frame in a strip, in pixels.
FRAME = 96
#: Bars of a waveform.
BARS = 120


def clock(seconds: float) -> str:
    """Return a time as ``m:ss.s``."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def small_frame(image: Image) -> str:
    """Return a frame for a strip as a JPEG data URL, at most `FRAME` pixels on its longer side."""
    small = image.convert("RGB")
    small.thumbnail((FRAME, FRAME))
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def peaks(samples: ArrayLike, *, bars: int = BARS) -> list[float]:
    """Return the loudest value of each of `bars` equal stretches of a sound, 0 to 1, two decimals.

    Parameters
    ----------
    samples
        ``(samples,)``, −1 to 1.
    bars
        How many stretches; fewer for a sound with fewer samples.
    """
    loud = np.abs(np.asarray(samples, dtype=np.float32))
    edges = np.linspace(0, len(loud), min(bars, len(loud)) + 1).astype(int)[:-1]
    return [round(min(1.0, float(value)), 2) for value in np.maximum.reduceat(loud, edges)]


def waveform(heights: Sequence[float], *, label: str, width: int = 360, height: int = 48) -> Markup:
    """Return a waveform as inline SVG in the colour of the text around it.

    Parameters
    ----------
    heights
        What `peaks` returned.
    label
        Its text for screen readers.
    width, height
        In CSS pixels.
    """
    step, middle = width / max(1, len(heights)), height / 2
    bars = "".join(
        f"M{(place + 0.5) * step:.1f} {middle - max(0.5, value * (middle - 1)):.1f}"
        f"v{2 * max(0.5, value * (middle - 1)):.1f}"
        for place, value in enumerate(heights)
    )
    return Markup(
        f'<svg role="img" aria-label="{escape(visible(label))}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" style="max-width:100%;display:block">'
        f'<path d="{bars}" stroke="currentColor" stroke-width="{max(1.0, 0.6 * step):.1f}" opacity=".75"/>'
        "</svg>"
    )


def frame_strip(frames: Sequence[tuple[str, float]], *, name: str) -> Markup:
    """Return frames side by side, each with its time below.

    Parameters
    ----------
    frames
        Address of the picture (`small_frame`) and time in seconds.
    name
        Of the video, for their alternative texts.
    """
    cells = "".join(
        '<span style="display:inline-block;margin:0 .35em .35em 0;text-align:center;font-size:.8em">'
        f'<img src="{escape(src)}" alt="{escape(visible(name))} at {clock(time)}" style="display:block">'
        f"{clock(time)}</span>"
        for src, time in frames
    )
    return Markup(f"<div>{cells}</div>")


def video_html(video: Video) -> Markup:
    """Return what the model sees of a video: its frames with their times."""
    frames = [(small_frame(image), time) for image, time in zip(video.frames, video.times, strict=True)]
    width, height = video.size
    of = f" of {video.total:,}" if len(frames) < video.total else ""
    return Markup(
        f"<figure style='margin:.5em 0'>{frame_strip(frames, name=video.name)}<figcaption>"
        f"{bdi(visible(video.name))}: {len(frames):,}{of} frames, {width} × {height} pixels"
        "</figcaption></figure>"
    )


def sound_html(sound: Audio) -> Markup:
    """Return a sound's waveform and a player of what the model hears: 16 kHz, mono."""
    label = f"Waveform of {sound.name}, {sound.seconds:.1f} seconds"
    data = base64.b64encode(sound.wav()).decode("ascii")
    rate, channels = sound.original
    was = "" if (rate, channels) == (16_000, 1) else f" (was {rate:,} Hz, {channels} channels)"
    return Markup(
        f"<figure style='margin:.5em 0'>{waveform(peaks(sound.samples), label=label)}"
        f'<audio controls preload="none" src="data:audio/wav;base64,{data}"></audio><figcaption>'
        f"{bdi(visible(sound.name))}: {sound.seconds:.2f} s, 16 kHz mono{escape(was)}</figcaption></figure>"
    )
