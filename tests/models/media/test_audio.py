"""Sounds: every source gives the same mono sound at 16 kHz; what is not a sound raises an error."""

from __future__ import annotations

import io
import re
import struct
import sys
import wave

import numpy as np
import pytest
from support.video_files import mp3_with_cover, video_file

from gemma_lab.errors import BadMedia, MissingExtra
from gemma_lab.models.media import Audio, audio_seconds, load_audio
from gemma_lab.models.media.audio import MAX_SECONDS, SAMPLE_RATE

TIME = np.arange(SAMPLE_RATE) / SAMPLE_RATE
TONE = (0.5 * np.sin(2 * np.pi * 440 * TIME)).astype(np.float32)


def wav(samples, *, rate=SAMPLE_RATE, width=2):
    """Return a WAV file of floats (samples[, channels])."""
    array = np.atleast_2d(np.asarray(samples, dtype=np.float64).T).T
    whole = np.round(array * (2 ** (8 * width - 1) - 1)).astype(np.int64)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(array.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        if width == 1:
            out.writeframes((whole + 128).astype(np.uint8).tobytes())
        else:
            out.writeframes(
                whole.astype("<i8").reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, :width].tobytes()
            )
    return file.getvalue()


def pitch(samples):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(samples))


def test_every_source_is_the_same_sound(tmp_path):
    data = wav(TONE)
    path = tmp_path / "ton – صوت.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [
            path,
            str(path),
            data,
            bytearray(data),
            file,
            (TONE, SAMPLE_RATE),
            (np.round(TONE * 32768).astype(np.int16), SAMPLE_RATE),
        ]
        for source in sources:
            made = load_audio(source)
            assert made.samples.dtype == np.float32
            assert made.samples == pytest.approx(TONE, abs=1e-4)
    assert load_audio(path).name == path.name
    assert repr(load_audio(path)) == f"Audio({path.name}: 1.00 s, 16 kHz mono)"


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_every_width(width):
    assert load_audio(wav(TONE, width=width)).samples == pytest.approx(TONE, abs=0.02 if width == 1 else 1e-4)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_any_rate_keeps_pitch_and_length(rate):
    time = np.arange(rate) / rate
    made = load_audio((0.5 * np.sin(2 * np.pi * 440 * time), rate))
    assert len(made.samples) == pytest.approx(SAMPLE_RATE, abs=1)
    assert pitch(made.samples) == pytest.approx(440, abs=1.5)
    assert np.abs(made.samples).max() == pytest.approx(0.5, abs=0.02)
    assert made.original == (rate, 1)


def test_resampling_lets_nothing_alias():
    time = np.arange(48_000) / 48_000
    above = load_audio((np.sin(2 * np.pi * 11_000 * time), 48_000))  # would fold to 5 kHz
    assert np.abs(above.samples[800:-800]).max() < 1e-3


@pytest.mark.parametrize("turned", [False, True])
def test_channels_are_averaged_whichever_axis_they_are_on(turned):
    stereo = np.stack([TONE, -0.5 * TONE], axis=1)
    made = load_audio((stereo.T if turned else stereo, SAMPLE_RATE))
    assert made.samples == pytest.approx(0.25 * TONE, abs=1e-6)
    assert made.original == (SAMPLE_RATE, 2)
    assert load_audio(wav(stereo)).samples == pytest.approx(0.25 * TONE, abs=1e-3)


def test_a_part_is_cut_where_asked():
    long = np.concatenate([np.zeros(SAMPLE_RATE * 40), TONE, np.zeros(SAMPLE_RATE * 5)]).astype(np.float32)
    made = load_audio((long, SAMPLE_RATE), start=40, stop=41)
    assert made.samples == pytest.approx(TONE)
    assert made.start == 40
    again = load_audio(made, start=0.25, stop=0.5)
    assert again.samples == pytest.approx(TONE[SAMPLE_RATE // 4 : SAMPLE_RATE // 2])
    assert again.start == 40.25
    assert load_audio(made).samples == pytest.approx(made.samples)


def test_too_long_offers_the_choice_and_is_never_cut_silently():
    long = np.zeros(SAMPLE_RATE * 75, np.float32)
    with pytest.raises(BadMedia, match=r"75\.00 s") as caught:
        load_audio((long, SAMPLE_RATE))
    assert "start=0, stop=30" in caught.value.hint
    assert "3 parts" in caught.value.hint
    with pytest.raises(BadMedia, match=r"65\.00 s"):
        load_audio((long, SAMPLE_RATE), start=10)
    exact = load_audio((np.zeros(44_100 * 30, np.float32), 44_100))
    assert exact.seconds == pytest.approx(MAX_SECONDS, abs=1e-4)
    assert len(exact.samples) <= 480_000


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (TONE, "only with its rate"),
        ((np.zeros(0), SAMPLE_RATE), "empty"),
        ((np.zeros(100), SAMPLE_RATE), "6 ms long"),
        ((np.full(SAMPLE_RATE, np.nan), SAMPLE_RATE), "NaN or infinity"),
        ((np.full(SAMPLE_RATE, np.inf), SAMPLE_RATE), "NaN or infinity"),
        ((TONE * 32768, SAMPLE_RATE), "floats of a sound run from −1 to 1"),
        ((np.zeros(SAMPLE_RATE, np.int64), SAMPLE_RATE), "array of int64"),
        ((np.zeros((SAMPLE_RATE, 20)), SAMPLE_RATE), r"shape \("),
        ((np.zeros((2, 2, SAMPLE_RATE)), SAMPLE_RATE), r"shape \("),
        ((TONE, None), "things of different shapes"),
        ((TONE, "16000"), "things of different shapes"),
        ((TONE, SAMPLE_RATE, 1), "things of different shapes"),
        ([[1, 2], [3]], "things of different shapes"),
        ((TONE, 0), "rate="),
        ((TONE, True), "rate="),
        (7, "type int"),
        (b"", "empty"),
        (wav(np.zeros(0)), "holds no samples"),
        (wav(TONE)[:30], "broken"),
        ("https://example.org/a.wav", "is an address"),
        ("/nowhere/a.wav", "No such file"),
        ("/dev/zero", "/dev/zero"),
    ],
)
def test_what_is_no_sound_says_so(source, match):
    with pytest.raises(BadMedia, match=match) as caught:
        load_audio(source)
    assert caught.value.hint


def test_the_length_of_channels_of_different_lengths_is_refused():
    with pytest.raises(BadMedia, match="different shapes"):
        audio_seconds(([[0.1] * 1000, [0.2] * 999], SAMPLE_RATE))


@pytest.mark.parametrize(
    "span", [{"start": -1}, {"stop": float("nan")}, {"start": 2, "stop": 1}, {"start": "1"}]
)
def test_a_span_that_is_none(span):
    with pytest.raises(BadMedia, match=r"start|stop"):
        load_audio((TONE, SAMPLE_RATE), **span)


def test_a_span_behind_the_end():
    with pytest.raises(BadMedia, match="0 ms long from 5 s on"):
        load_audio((TONE, SAMPLE_RATE), start=5)


def test_a_cut_off_wav_keeps_what_is_there():
    data = wav(TONE)
    assert load_audio(data[: len(data) // 2 + 1]).seconds == pytest.approx(0.5, abs=0.01)


def test_float_wav_goes_to_pyav():
    body = TONE.astype("<f4").tobytes()
    header = b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, SAMPLE_RATE, SAMPLE_RATE * 4, 4, 32)
    data = b"WAVE" + header + b"data" + struct.pack("<I", len(body)) + body
    made = load_audio(b"RIFF" + struct.pack("<I", len(data)) + data)
    assert made.samples == pytest.approx(TONE, abs=1e-6)


def test_without_pyav_other_formats_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match="PyAV") as caught:
        load_audio(b"ID3 an mp3, perhaps")
    assert "gemma_lab[video]" in caught.value.hint
    assert load_audio(wav(TONE)).seconds == 1


def test_a_sound_is_its_own_copy():
    samples = TONE.copy()
    made = load_audio((samples, SAMPLE_RATE))
    samples[:] = 0
    assert made.samples == pytest.approx(TONE)


def test_wav_out_is_what_went_in():
    made = Audio(TONE)
    assert load_audio(made.wav()).samples == pytest.approx(TONE, abs=1e-4)
    assert "<script" not in made._repr_html_()
    assert "<audio controls" in made._repr_html_()


@pytest.mark.parametrize(
    "rate", [SAMPLE_RATE, float(SAMPLE_RATE), np.int64(SAMPLE_RATE), np.array(SAMPLE_RATE)]
)
def test_the_rate_comes_first_or_last(rate):
    for pair in ((TONE, rate), (rate, TONE), (rate, TONE.tolist())):
        np.testing.assert_allclose(load_audio(pair).samples, TONE, atol=1e-6)
        assert audio_seconds(pair) == 1


def test_what_scipy_reads(tmp_path):
    wavfile = pytest.importorskip("scipy.io.wavfile")
    path = tmp_path / "a.wav"
    path.write_bytes(wav(TONE))
    np.testing.assert_allclose(load_audio(wavfile.read(path)).samples, TONE, atol=1e-4)


@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float32", "float64", "int16", "int32", "int8", "uint8"]
)
def test_tensors_of_every_dtype(dtype):
    torch = pytest.importorskip("torch")
    kind = getattr(torch, dtype)
    scale = 1 if kind.is_floating_point else 127 * 256 ** (torch.iinfo(kind).bits // 8 - 1)
    tensor = torch.tensor(TONE * scale) + (128 if dtype == "uint8" else 0)
    sound = load_audio((tensor.to(kind), SAMPLE_RATE))
    assert np.abs(sound.samples - TONE).max() < 0.02
    assert np.abs(sound.samples).max() > 0.3


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_a_wav_that_was_written_to_a_pipe(size):
    data = bytearray(wav(TONE))
    data[4:8], data[40:44] = (struct.pack("<I", n) for n in (min(size, 0xFFFFFFFF), size))
    np.testing.assert_allclose(load_audio(bytes(data)).samples, TONE, atol=1e-4)
    assert audio_seconds(bytes(data)) == 1


def test_a_wav_without_samples_is_empty():
    with pytest.raises(BadMedia, match="empty"):
        load_audio(wav(TONE[:0]))
    with pytest.raises(BadMedia, match="empty"):
        load_audio(wav(TONE[:0]) + b"LIST" + struct.pack("<I", 26) + b"INFOIART" + bytes(18))


@pytest.mark.parametrize("seconds", [30.01, 31, 59.99, 60, 60.02, 75, 200])
def test_the_hint_for_a_long_sound_can_be_run(seconds):
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    for call in (load_audio, audio_seconds):
        with pytest.raises(BadMedia) as caught:
            call((samples, SAMPLE_RATE))
    code = re.search(r"audio=(\[.*\])\.", caught.value.hint)[1].replace(
        "gemma_lab.load_audio(…", "load((samples, SAMPLE_RATE)"
    )
    if "…" not in code:
        parts = eval(code, {"load": load_audio, "samples": samples, "SAMPLE_RATE": SAMPLE_RATE})
        assert sum(part.seconds for part in parts) == pytest.approx(seconds, abs=1e-3)
        assert len(parts) == int(re.search(r"(\d+) parts", caught.value.hint)[1])


def test_the_length_of_a_file_is_that_of_its_packets():
    pytest.importorskip("av", reason="reading other files than WAV needs the extra video")
    data = mp3_with_cover(2)
    assert audio_seconds(data) == pytest.approx(load_audio(data).seconds, abs=0.1)
    assert audio_seconds(data, start=0.5, stop=1) == 0.5
    assert audio_seconds(video_file([0, 0.1], "mkv h264", sound=30)) <= MAX_SECONDS


def test_a_playlist_in_bytes_reads_no_file(tmp_path, monkeypatch):
    """FFmpeg's concat format names files; as bytes, it came from elsewhere and must open none."""
    pytest.importorskip("av")
    with wave.open(str(tmp_path / "private.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x01\x00" * 16_000)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadMedia):
        load_audio(b"ffconcat version 1.0\nfile private.wav\n")
