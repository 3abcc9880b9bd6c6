"""The recordings are trimmed and complete; making them says what it needs."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from gemma_lab.assets import data_path
from gemma_lab.errors import LabError
from gemma_lab.minis import speech_clips
from gemma_lab.minis.tasks import speech

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: apt-get install espeak-ng"
)


def test_silence_around_a_sound_is_trimmed_and_its_level_set():
    inside = np.sin(np.arange(4000)) * 0.1
    made = speech_clips.trimmed(np.concatenate([np.zeros(9000), inside, np.zeros(5000)]).astype(np.float32))
    assert 4000 <= len(made) <= 4000 + 2 * speech.RATE // 50
    assert np.abs(made).max() == pytest.approx(0.5, abs=1e-4)


def test_a_silent_digit_is_refused():
    with pytest.raises(LabError, match="silent"):
        speech_clips.trimmed(np.zeros(100, dtype=np.float32))


def test_without_espeak_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LabError, match="apt-get install espeak-ng"):
        speech_clips.make(tmp_path)


def test_what_is_kept_is_what_the_index_says():
    index = json.loads((data_path("speech") / "index.json").read_text())
    assert (
        set(index["voices"]) == set(speech_clips.SPEAKERS) == set(speech.voices(True) + speech.voices(False))
    )
    assert set(index["languages"]) == set(speech.LANGUAGES)
    assert all((data_path("speech") / f"{voice}.ogg").is_file() for voice in index["voices"])
    assert sum(path.stat().st_size for path in data_path("speech").iterdir()) < 6_000_000


@needs_espeak
def test_a_voice_says_a_digit():
    said = speech_clips.say(7, "de", speaker="f2")
    assert said.dtype == np.float32
    assert 0.2 < len(said) / speech.RATE < 1
    assert np.abs(said).max() == pytest.approx(0.5, abs=1e-3)


@needs_espeak
def test_an_unknown_variant_is_refused_where_espeak_would_use_another_voice():
    with pytest.raises(LabError, match="no variant 'nobody'"):
        speech_clips.say(7, "de", speaker="nobody")


@needs_espeak
def test_every_speaker_is_one_of_espeaks():
    assert set(speech_clips.SPEAKERS) <= speech_clips._variants()


@needs_espeak
def test_a_corpus_of_one_voice_is_read_back(tmp_path, monkeypatch):
    import soundfile

    monkeypatch.setattr(speech_clips, "SPEAKERS", ("m2",))
    monkeypatch.setattr(speech_clips, "LANGUAGES", {"es": "Spanish"})
    index = json.loads(speech_clips.make(tmp_path).read_text())
    spans = index["voices"]["m2"]["digits"]["es"]
    kept, rate = soundfile.read(tmp_path / "m2.ogg", dtype="float32")
    assert rate == speech.RATE
    for digit, (start, stop) in enumerate(spans):
        voice = index["voices"]["m2"]
        said = speech_clips.say(digit, "es", speaker="m2", pitch=voice["pitch"], speed=voice["speed"])
        assert stop - start == len(said)
        assert np.corrcoef(said, kept[start:stop])[0, 1] > 0.9  # coded with loss, not shifted


def test_samples_are_written_as_they_are_drawn(tmp_path):
    import soundfile

    speech_clips.write_samples(tmp_path)
    for language, sound in speech.samples().items():
        kept, rate = soundfile.read(tmp_path / f"{language}-207.wav", dtype="float32")
        assert rate == speech.RATE
        assert np.abs(kept - sound).max() < 1e-4
