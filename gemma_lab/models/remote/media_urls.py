"""Media as the parts of OpenAI's messages: base64 in data URLs, without loss where the server allows it."""

from __future__ import annotations

import base64
import io
import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from ..media import Audio, Video

#: JPEG quality of video frames for servers that take no lossless ones.
_QUALITY = 95


def image_part(image: Any) -> dict[str, Any]:
    """Return an image as a PNG, which loses nothing."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return {"type": "image_url", "image_url": {"url": _data_url("image/png", file.getvalue())}}


def audio_part(audio: Audio) -> dict[str, Any]:
    """Return a sound as a WAV file: of 16 bit where that loses nothing, else of 32-bit floats."""
    data = base64.b64encode(wav(audio.samples)).decode("ascii")
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def video_part(video: Video, *, lossless: bool) -> dict[str, Any]:
    """Return a video: an animated PNG with the times of its frames, or JPEG frames in one URL.

    The second is vLLM's form (``data:video/jpeg;base64,FRAME,FRAME,…``); it has no place for the times.
    """
    if not lossless:
        frames = []
        for frame in video.frames:
            file = io.BytesIO()
            frame.convert("RGB").save(file, "JPEG", quality=_QUALITY)
            frames.append(base64.b64encode(file.getvalue()).decode("ascii"))
        url = f"data:video/jpeg;base64,{','.join(frames)}"
    else:
        times = [round(1000 * time) for time in video.times]
        shown = [max(1, after - before) for before, after in pairwise(times)]
        shown.append(shown[-1] if shown else 1000)
        file = io.BytesIO()
        first, *others = video.frames
        first.save(file, "PNG", save_all=True, append_images=others, duration=shown, loop=0)
        url = _data_url("image/apng", file.getvalue())
    return {"type": "video_url", "video_url": {"url": url}}


def wav(samples: np.ndarray[Any, np.dtype[np.float32]]) -> bytes:
    """Return mono samples at 16 kHz as a WAV file that gives exactly these samples back."""
    steps = samples.astype(np.float64) * 32_768.0
    exact = bool((steps == np.rint(steps)).all()) and (
        not steps.size or -32_768 <= steps.min() <= steps.max() <= 32_767
    )
    data = steps.astype("<i2").tobytes() if exact else samples.astype("<f4").tobytes()
    kind, width = (1, 2) if exact else (3, 4)  # PCM, IEEE float
    header = struct.pack("<HHIIHH", kind, 1, SAMPLE_RATE, SAMPLE_RATE * width, width, 8 * width)
    chunks = b"fmt " + struct.pack("<I", len(header)) + header + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
