"""Animated GIF, PNG and WebP files, read with Pillow frame by frame."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from PIL import Image

from ...errors import BadMedia, LabError
from .images import MAX_PIXELS, on_white
from .timeline import Timeline

_FORMATS = ("GIF", "PNG", "WEBP")
_TICK = Fraction(1, 1_000_000)
#: Milliseconds that a frame without a duration is shown, as browsers do.
_DEFAULT_DURATION = 100


class Animation:
    """An animated file and the times of its frames; a still image is a video of one frame.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    what
        How to call it in an error.

    Attributes
    ----------
    timeline
        When each frame is shown.
    size
        ``(width, height)`` of all frames, in pixels.

    Raises
    ------
    BadMedia
        If it is broken, or its frames are too large.
    """

    def __init__(self, source: Path | bytes, what: str) -> None:
        self._source, self._what = source, what
        with self._opened() as image:
            self.size = image.size
            # an APNG may hold an image for viewers that cannot animate: it is none of the frames
            self._first = 1 if image.info.get("default_image") else 0
            ticks, now = [], Fraction(0)
            for number in range(self._first, getattr(image, "n_frames", 1)):
                image.seek(number)
                image.load()  # the duration of a WebP frame is set only then
                ticks.append(round(now / _TICK))
                now += Fraction(image.info.get("duration") or _DEFAULT_DURATION) / 1000
        self.timeline = Timeline(ticks, _TICK, round(now / _TICK))

    def images(self, numbers: Sequence[int]) -> Iterator[Image.Image]:
        """Yield the frames with the given ascending numbers, transparent parts on white."""
        with self._opened() as image:
            for number in numbers:
                image.seek(self._first + number)
                yield on_white(image)

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        file = io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = Image.open(file, formats=_FORMATS)
            with image:
                if image.width * image.height > MAX_PIXELS:
                    raise BadMedia(
                        f"The frames of {self._what} have {image.width:,} × {image.height:,} pixels; at most "
                        f"{MAX_PIXELS / 1e6:.0f} Mpx are decoded.",
                        hint="Convert it to a smaller size first.",
                    )
                yield image
        except LabError:
            raise
        except Exception as error:  # Pillow raises many types on broken files
            raise BadMedia(
                f"{self._what} is broken: {error}.", hint="Download or export it again."
            ) from error


def is_animation(head: bytes) -> bool:
    """Return whether a file begins as the formats of `Animation` do; it may still be a still image."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith((b"GIF8", b"\x89PNG\r\n\x1a\n"))
