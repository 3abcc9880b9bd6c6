"""Bytes of a file that were cut or changed give a medium or `LabError`: nothing else leaves a loader."""

from __future__ import annotations

import contextlib
import io
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.video_files import ANIMATIONS, FORMATS, animation, mp3_with_cover, video_file

from gemma_lab.errors import LabError
from gemma_lab.models.media import audio_seconds, image_size, load_audio, load_image, load_video, video_shape

pytest.importorskip("av", reason="reading video files needs the extra video")

IMAGES = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "ICO", "JPEG2000")


@cache
def _file(kind: str) -> bytes:
    if kind in FORMATS:
        return video_file([0, 0.1, 0.25, 0.4, 2, 2.1], kind)
    if kind == "mp3":
        return mp3_with_cover(0.5)
    if kind == "wav":
        return load_audio((np.sin(np.arange(8000) / 20).astype(np.float32), 16_000)).wav()
    if kind.startswith("animated "):
        return animation([100, 200, 300], kind.removeprefix("animated "))
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


KINDS = [kind for kind in FORMATS if kind != "ts h264"]
KINDS += ["mp3", "wav", *(f"animated {kind}" for kind in ANIMATIONS), *IMAGES]
changes = st.lists(
    st.tuples(st.one_of(st.integers(0, 80), st.integers(0, 10**6)), st.integers(0, 255)), max_size=8
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=changes, keep=st.one_of(st.just(1.0), st.floats(0.01, 1)))
@pytest.mark.filterwarnings("error::UserWarning")
def test_broken_bytes(kind, changes, keep):
    data = bytearray(_file(kind))
    for position, value in changes:
        data[position % len(data)] = value
    data = bytes(data[: max(1, round(keep * len(data)))])
    for load in (load_image, image_size, load_video, video_shape, load_audio, audio_seconds):
        with contextlib.suppress(LabError):
            load(data)
