"""Videos and sounds as script-free HTML: frames with their times, a waveform, a player."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from ..base.html import Markup, bdi, tag
from ..base.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from PIL.Image import Image

    from ...models.media import Audio, Video

#: Longest side of a frame in a strip, in pixels.
FRAME = 96
#: Number of bars of a waveform.
BARS = 120


def clock(seconds: float) -> str:
    """Format a time as ``m:ss.s``."""
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 / 10:04.1f}"


def small_frame(image: Image) -> str:
    """Return a frame as a JPEG data URL, at most `FRAME` pixels on its longer side."""
    small = image.convert("RGB")
    small.thumbnail((FRAME, FRAME))
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def peaks(samples: ArrayLike, *, bars: int = BARS) -> list[float]:
    """Return the peak amplitude of equal sections of a sound, 0 to 1, rounded to two decimals.

    Parameters
    ----------
    samples
        ``(samples,)``, −1 to 1.
    bars
        Number of sections; fewer for a sound with fewer samples.
    """
    loud = np.abs(np.asarray(samples, dtype=np.float32))
    edges = np.linspace(0, len(loud), min(bars, len(loud)) + 1).astype(int)[:-1]
    return [round(min(1.0, float(value)), 2) for value in np.maximum.reduceat(loud, edges)]


def waveform(heights: Sequence[float], *, label: str, width: int = 360, height: int = 48) -> Markup:
    """Return a waveform as inline SVG in the colour of the surrounding text.

    Parameters
    ----------
    heights
        From `peaks`.
    label
        Description for screen readers.
    width, height
        CSS pixels.
    """
    step, middle = width / max(1, len(heights)), height / 2
    half_heights = [max(0.5, value * (middle - 1)) for value in heights]
    bars = "".join(
        f"M{(index + 0.5) * step:.1f} {middle - half:.1f}v{2 * half:.1f}"
        for index, half in enumerate(half_heights)
    )
    path = tag(
        "path", d=bars, stroke="currentColor", stroke_width=f"{max(1.0, 0.6 * step):.1f}", opacity=".75"
    )
    return tag(
        "svg",
        path,
        role="img",
        aria_label=visible(label),
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        style="max-width:100%;display:block",
    )


def frame_strip(frames: Sequence[tuple[str, float]], *, name: str) -> Markup:
    """Return frames side by side, each with its time below.

    Parameters
    ----------
    frames
        Address of each image (`small_frame`) and its time in seconds.
    name
        Of the video, for the alternative texts.
    """
    style = "display:inline-block;margin:0 .35em .35em 0;text-align:center;font-size:.8em"
    cells = []
    for address, time in frames:
        image = tag("img", src=address, alt=f"{visible(name)} at {clock(time)}", style="display:block")
        cells.append(tag("span", image, clock(time), style=style))
    return tag("div", *cells)


def video_html(video: Video) -> Markup:
    """Return the frames of a video that the model is given, with their times."""
    frames = [(small_frame(image), time) for image, time in zip(video.frames, video.times, strict=True)]
    width, height = video.size
    total = f" of {video.total:,}" if len(frames) < video.total else ""
    caption = f": {len(frames):,}{total} frames, {width} × {height} pixels"
    return tag(
        "figure",
        frame_strip(frames, name=video.name),
        tag("figcaption", bdi(visible(video.name)), caption),
        style="margin:.5em 0",
    )


def sound_html(sound: Audio) -> Markup:
    """Return the waveform of a sound and a player of what the model is given: 16 kHz, mono."""
    label = f"Waveform of {sound.name}, {sound.seconds:.1f} seconds"
    data = base64.b64encode(sound.wav()).decode("ascii")
    rate, channels = sound.original
    original = "" if (rate, channels) == (16_000, 1) else f" (was {rate:,} Hz, {channels} channels)"
    return tag(
        "figure",
        waveform(peaks(sound.samples), label=label),
        tag("audio", controls="", preload="none", src=f"data:audio/wav;base64,{data}"),
        tag("figcaption", bdi(visible(sound.name)), f": {sound.seconds:.2f} s, 16 kHz mono{original}"),
        style="margin:.5em 0",
    )
