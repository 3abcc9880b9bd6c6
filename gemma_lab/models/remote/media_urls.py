"""Media as the parts of OpenAI's messages: base64 in data URLs, without loss where the server allows it."""

from __future__ import annotations

import base64
import io
import struct
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
    """Return a video as frames in one URL: ``data:video/jpeg;base64,FRAME,FRAME,…``, which is vLLM's form.

    ``gemma-lab serve`` takes PNG frames as well, and their times in seconds, which vLLM's form leaves out.
    """
    frames = []
    for frame in video.frames:
        file = io.BytesIO()
        options = {} if lossless else {"quality": _QUALITY}
        frame.convert("RGB").save(file, "PNG" if lossless else "JPEG", **options)
        frames.append(base64.b64encode(file.getvalue()).decode("ascii"))
    inner: dict[str, Any] = {"url": f"data:video/{'png' if lossless else 'jpeg'};base64,{','.join(frames)}"}
    if lossless:
        inner["times"] = list(video.times)
    return {"type": "video_url", "video_url": inner}


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
