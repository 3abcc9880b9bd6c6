"""Frames of files: in stream order, each with its own time, in every container that PyAV writes."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.video_files import ANIMATIONS, FORMATS, animation, gray, mp3_with_cover, numbers, video_file

from gemma_lab.errors import BadMedia
from gemma_lab.models.media import image_size, load_video, video_shape
from gemma_lab.models.media import video_file as module
from gemma_lab.models.media.video import MAX_VIDEO_PIXELS

pytest.importorskip("av", reason="reading video files needs the extra video")

SLOW = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def timings(draw, step, least=2):
    """Times of up to 28 frames with short and long gaps, in multiples of a container's clock."""
    gaps = st.one_of(st.integers(2, 12), st.integers(13, 400), st.just(3)).map(
        lambda n: max(1, round(n * Fraction(1, 100) / step))
    )
    ticks = [0]
    for gap in draw(st.lists(gaps, min_size=least - 1, max_size=27)):
        ticks.append(ticks[-1] + gap)
    return [float(tick * step) for tick in ticks]


@pytest.mark.parametrize("kind", FORMATS)
@SLOW
@given(data=st.data())
def test_times_are_those_written_and_no_frame_comes_twice(kind, data):
    tick = FORMATS[kind][3]
    times = data.draw(timings(tick, 12 if kind.startswith("ts") else 2))  # FFmpeg finds no shorter MPEG-TS
    file = video_file(times, kind)
    video = load_video(file)
    assert video.total == len(times)
    assert video.times == pytest.approx(times, abs=2e-5)
    assert numbers(video) == list(range(len(times)))
    assert video_shape(file).times == video.times
    few = load_video(file, frames=3)
    assert few.times == tuple(
        video.times[n] for n in ([0, 1] if len(times) == 2 else [k * len(times) // 3 for k in range(3)])
    )
    last = load_video(file, start=times[-1])
    assert (last.times, numbers(last)) == ((video.times[-1],), [len(times) - 1])


@pytest.mark.parametrize("kind", ["mp4 h264", "webm vp8", "gif"])
@SLOW
@given(data=st.data())
def test_a_time_is_the_frame_that_is_on_screen_then(kind, data):
    times = data.draw(timings(FORMATS[kind][3]))
    fps = data.draw(st.sampled_from([0.5, 1, 2, 4, 8]))
    video = load_video(video_file(times, kind), fps=fps)
    count = int(times[-1] * fps) + 1
    shown = sorted({bisect_right(times, k / fps) - 1 for k in range(count)})
    extra = set(numbers(video)) - set(shown)  # a time at which the last frame is still on screen
    assert sorted(set(numbers(video)) - extra) == shown
    assert extra <= {len(times) - 1}
    assert len(set(video.times)) == len(video.times)
    at = data.draw(st.integers(0, int(1000 * times[-1]))) / 1000
    assert numbers(load_video(video_file(times, kind), start=at, frames=1)) == [bisect_right(times, at) - 1]


@pytest.mark.parametrize("kind", ANIMATIONS)
@SLOW
@given(durations=st.lists(st.integers(2, 300).map(lambda n: 10 * n), min_size=2, max_size=20))
def test_animations_of_pillow(kind, durations):
    file = animation(durations, kind)
    video = load_video(file)
    assert video.times == pytest.approx(np.cumsum([0, *durations[:-1]]) / 1000, abs=2e-3)
    assert numbers(video) == list(range(len(durations)))
    held = load_video(file, start=sum(durations) / 1000 - 0.005)
    assert numbers(held) == [len(durations) - 1]
    with pytest.raises(BadMedia, match=f"{sum(durations) / 1000:.2f} s"):
        load_video(file, start=sum(durations) / 1000 + 0.01)


def test_sought_frames_are_those_of_a_linear_read():
    times = [n / 30 for n in range(300)]
    frames = [gray(n) for n in range(300)]
    file = video_file(times, "mp4 h264", frames=frames, options={"g": "40", "bf": "3"})
    for count in (7, 13, 32):
        video = load_video(file, frames=count)
        wanted = [k * 300 // count for k in range(count)]
        assert numbers(video) == [number % 32 for number in wanted]
        assert video.times == pytest.approx([times[number] for number in wanted], abs=6e-4)


def test_a_file_whose_packets_lie_is_numbered_by_decoding(monkeypatch):
    times = [0, 0.1, 0.25, 0.4, 2.0]
    honest = module._index_by_packets

    def with_a_ghost(container, stream):
        index = honest(container, stream)
        return module._Index(
            [*index.pts[:2], index.pts[1] + 5, *index.pts[2:]], index.tick, index.duration, index.keys
        )

    monkeypatch.setattr(module, "_index_by_packets", with_a_ghost)
    video = load_video(video_file(times, "mkv h264"))
    assert (video.total, numbers(video)) == (5, [0, 1, 2, 3, 4])
    assert video.times == pytest.approx(times)


@pytest.mark.parametrize("kind", ["mp4 h264", "mkv h264", "webm vp8"])
def test_a_late_beginning_and_a_longer_sound(kind):
    times = [n / 10 for n in range(20)]
    late = load_video(video_file([10 + time for time in times], kind))
    assert late.total == 20
    assert late.times == pytest.approx(times, abs=1e-3)
    if kind != "mp4 h264":
        long = load_video(video_file(times, kind, sound=10))
        assert (long.total, numbers(long)) == (20, list(range(20)))
        assert long.times == pytest.approx(times, abs=1e-3)
        joined = load_video(video_file([5 + time for time in times], kind, sound=10))
        assert joined.times == pytest.approx([5 + time for time in times], abs=1e-3)


def test_a_cover_is_one_frame():
    video = load_video(mp3_with_cover())
    assert (len(video.frames), video.total, video.times) == (1, 1, (0.0,))


MATRICES = [
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (-1, 0, 0, -1),
    (0, 1, -1, 0),
    (0, -1, 1, 0),
    (0, 1, 1, 0),
    (0, -1, -1, 0),
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_the_display_matrix_turns_and_mirrors(matrix):
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:16, :20], pixels[:16, 44:] = 255, (255, 0, 0)
    a, b, c, d = matrix
    one = 1 << 16
    file = video_file(
        [0, 0.1],
        "mp4 mpeg4",
        frames=[Image.fromarray(pixels)] * 2,
        matrix=[a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30],
    )
    rows, columns = np.indices((48, 64))
    x, y = a * columns + c * rows, b * columns + d * rows  # libavutil/display.h
    expected = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1, 3))
    expected[y - y.min(), x - x.min()] = pixels
    frame = np.asarray(load_video(file).frames[0], float)
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).mean() < 3
    assert video_shape(file).size == (expected.shape[1], expected.shape[0])


def test_many_large_frames_are_scaled_down(monkeypatch):
    monkeypatch.setattr("gemma_lab.models.media.video.MAX_VIDEO_PIXELS", 10 * 32 * 24)
    file = video_file([n / 10 for n in range(10)], "mp4 mpeg4")
    video = load_video(file)
    assert video.size == video_shape(file).size == (32, 24)
    assert numbers(video) == list(range(10))
    assert MAX_VIDEO_PIXELS * 3 < 1e9


def test_transparent_frames_lie_on_white():
    clear = [Image.new("RGBA", (8, 8), (255, 0, 0, 0)), Image.new("RGBA", (8, 8), (255, 0, 0, 255))]
    for kind in ("PNG", "WEBP"):
        video = load_video(animation([100, 100], kind, clear))
        assert [frame.getpixel((4, 4)) for frame in video.frames] == [(255, 255, 255), (255, 0, 0)]


def test_a_still_image_is_a_video_of_one_frame():
    assert load_video(animation([100], "PNG")).times == (0.0,)
    assert image_size(animation([100], "PNG")) == (64, 48)
