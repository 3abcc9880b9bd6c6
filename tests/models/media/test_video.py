"""Videos in: frames with the times when they were taken, from files and from pictures."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import transformers
from packaging.version import Version
from PIL import Image

from gemma_lab.errors import BadMedia, MissingExtra
from gemma_lab.models.media import Video, load_audio, load_video
from gemma_lab.models.media.timeline import sample_indices


def shade(number, size=(64, 48)):
    return Image.new("RGB", size, (number, number, number))


def film(frames, *, fps=10, size=(64, 48), container="mp4", tone=False):
    """Return a video file whose frame n is a gray of 4 · n."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream("mpeg4", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.bit_rate = 4_000_000
        audio = out.add_stream("flac", rate=48_000, layout="mono") if tone else None
        for number in range(frames):
            frame = av.VideoFrame.from_image(shade(4 * number % 256, size))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
        if audio is not None:
            time = np.arange(48_000 * frames // fps) / 48_000
            wave = (0.4 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)[None]
            for start in range(0, wave.shape[1] - 1023, 1024):
                block = av.AudioFrame.from_ndarray(
                    wave[:, start : start + 1024], format="fltp", layout="mono"
                )
                block.rate, block.pts = 48_000, start
                out.mux(audio.encode(block))
            out.mux(audio.encode())
    return file.getvalue()


def grays(clip):
    return [float(np.asarray(frame).mean()) for frame in clip.frames]


def test_frames_with_their_rate():
    clip = load_video(([shade(n) for n in range(5)], 2.0))
    assert clip.times == (0, 0.5, 1, 1.5, 2)
    assert clip.timestamps == ("00:00", "00:00", "00:01", "00:01", "00:02")
    assert repr(clip) == "Video(video: 5 frames, 0.00 to 2.00 s, 64 × 48)"
    same = load_video(SimpleNamespace(frames=tuple(shade(n) for n in range(5)), fps=2.0))
    assert same.times == clip.times
    array = np.zeros((5, 48, 64, 3), np.uint8)
    assert load_video(array, fps=2).times == clip.times


def test_more_frames_than_are_looked_at_are_sampled_and_reported():
    clip = load_video(([shade(n) for n in range(100)], 10.0))
    assert len(clip.frames) == 32
    assert clip.total == 100
    assert grays(clip) == [n * 100 // 32 for n in range(32)]
    assert clip.times == tuple(n * 100 // 32 / 10 for n in range(32))
    assert "32 of 100 frames" in repr(clip)
    assert len(load_video(clip, frames=4).frames) == 4
    assert load_video(clip) is clip


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.23"),
    reason="older releases round other indices; the kit passes its own frames to every release",
)
def test_the_sampling_is_that_of_transformers():
    from transformers.video_utils import VideoMetadata, default_sample_indices_fn

    for total in (1, 5, 31, 32, 33, 100, 333):
        for frames in (1, 4, 32):
            if frames <= total:
                metadata = VideoMetadata(total_num_frames=total, fps=24)
                expected = default_sample_indices_fn(metadata, num_frames=frames).tolist()
                assert sample_indices(total, frames) == expected


def test_a_part_is_cut_where_asked():
    frames = [shade(n) for n in range(20)]
    clip = load_video((frames, 2.0), start=3, stop=5)
    assert clip.times == (3, 3.5, 4, 4.5)
    assert grays(clip) == [6, 7, 8, 9]


def test_metadata_gives_back_the_times():
    from transformers.video_utils import VideoMetadata

    clip = load_video(([shade(n) for n in range(9)], 3.0))
    told = VideoMetadata(**clip.metadata())
    assert told.timestamps == pytest.approx(clip.times, abs=1e-3)
    assert [int(each) for each in told.timestamps] == [int(each) for each in clip.times]


@pytest.mark.parametrize("container", ["mp4", "matroska", "avi"])
def test_a_file_gives_the_frames_that_were_wanted(tmp_path, container):
    pytest.importorskip("av", reason="reading video files needs the extra video")
    path = tmp_path / "clip.bin"
    path.write_bytes(film(60, container=container))
    clip = load_video(path, frames=6)
    assert clip.total == 60
    assert clip.times == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.11)
    assert grays(clip) == pytest.approx([0, 40, 80, 120, 160, 200], abs=8)
    assert clip.name == "clip.bin"


def test_a_long_file_is_jumped_in():
    pytest.importorskip("av", reason="reading video files needs the extra video")
    clip = load_video(film(64, fps=1), frames=4)
    assert clip.times == pytest.approx([0, 16, 32, 48])
    assert grays(clip) == pytest.approx([0, 64, 128, 192], abs=8)


def test_a_rate_a_part_and_a_sound_of_a_file():
    pytest.importorskip("av", reason="reading video files needs the extra video")
    data = film(60, container="matroska", tone=True)
    assert len(load_video(data, fps=2).frames) == 12
    assert len(load_video(data).frames) == 32
    part = load_video(data, start=2, stop=4, fps=1)
    assert part.times == pytest.approx([2, 3], abs=0.11)
    heard = load_audio(data)
    assert heard.seconds == pytest.approx(6, abs=0.1)
    assert np.abs(heard.samples[8000:16000]).max() == pytest.approx(0.4, abs=0.05)
    assert heard.original == (48_000, 1)
    assert len(load_video(film(30, fps=1), fps=100).frames) == 30


def test_what_is_no_video_file(tmp_path):
    pytest.importorskip("av", reason="reading video files needs the extra video")
    with pytest.raises(BadMedia, match="1,900 bytes"):
        load_video(b"nothing of the kind" * 100)
    whole = film(30)
    with pytest.raises(BadMedia, match=r"broken|no frame"):
        load_video(whole[: len(whole) // 3])
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadMedia):
        load_video(playlist)
    tone = load_audio((np.zeros(16_000), 16_000)).wav()
    with pytest.raises(BadMedia, match="has no video stream"):
        load_video(tone)
    with pytest.raises(BadMedia, match=r"3\.00 s"):
        load_video(whole, start=9)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (([], 2.0), "no frames"),
        ([shade(1)], "only with their rate"),
        (([shade(1), shade(2, (10, 10))], 2.0), "one size"),
        (([shade(1)], 0), "fps=0 "),
        (shade(1), "type Image"),
        (np.zeros((48, 64, 3), np.uint8), r"shape \(48, 64, 3\)"),
        (([np.full((4, 4, 3), np.nan)], 1.0), "NaN"),
        (([b"broken"], 1.0), "begins with b'broken'"),
        ("https://example.org/a.mp4", "is an address"),
        ("/nowhere/a.mp4", "No such file"),
        (7, "type int"),
    ],
)
def test_what_is_no_video_says_so(source, match):
    with pytest.raises(BadMedia, match=match) as caught:
        load_video(source)
    assert caught.value.hint


@pytest.mark.parametrize("frames", [0, -1, True, 2.5, 5000])
def test_a_count_that_is_none(frames):
    with pytest.raises(BadMedia, match="frames="):
        load_video(([shade(1)], 1.0), frames=frames)


def test_without_pyav_a_file_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match="PyAV"):
        load_video(b"\0\0\0 ftypmp42")


def test_html_shows_frames_with_times():
    html = load_video(([shade(n) for n in range(3)], 2.0))._repr_html_()
    assert html.count("<img") == 3
    assert "0:01.0" in html
    hostile = Video((shade(1),), (0.0,), 1, '"><script>x</script>')._repr_html_()
    assert "<script" not in hostile
