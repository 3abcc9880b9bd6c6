"""What is said is what the answer says; voices of evaluation are never heard in training."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from gemma_lab.minis.tasks import speech


def test_whole_voices_are_held_out():
    assert set(speech.voices(True)) == set(speech.HELD_OUT)
    assert not set(speech.voices(True)) & set(speech.voices(False))
    assert len(speech.voices(False)) >= 30


@pytest.mark.parametrize("held", [False, True])
def test_only_voices_of_its_part_are_drawn(held, monkeypatch):
    heard = set()
    digit = speech.digit
    monkeypatch.setattr(speech, "digit", lambda n, **how: heard.add(how["voice"]) or digit(n, **how))
    for seed in range(25):
        speech.ask(random.Random(seed), held)
    assert heard
    assert heard <= set(speech.voices(held))


def test_every_voice_says_every_digit_in_every_language():
    for voice in (*speech.voices(True)[:2], *speech.voices(False)[:2]):
        for language in speech.LANGUAGES:
            for number in range(10):
                sound = speech.digit(number, language=language, voice=voice)
                assert sound.dtype == np.float32
                assert 0.15 < len(sound) / speech.RATE < 1.4
                assert 0.3 < np.abs(sound).max() <= 1


def test_digits_are_said_in_the_order_of_the_answer(monkeypatch):
    """Replace each recording by a tone of its own height and find the heights again in the sound."""

    def tone(number, *, language, voice):
        return np.sin(2 * np.pi * (300 + 150 * number) * np.arange(8000) / speech.RATE).astype(np.float32) / 2

    monkeypatch.setattr(speech, "digit", tone)
    for seed in range(12):
        rng = random.Random(seed)
        numbers = [rng.randrange(10) for _ in range(3)]
        sound = speech.utter(rng, numbers, language="de", voice="m1")
        loud = np.convolve(np.abs(sound), np.ones(160) / 160, "same") > 0.05
        edges = np.flatnonzero(np.diff(loud.astype(int)))
        assert len(edges) == 6
        for number, (start, stop) in zip(numbers, edges.reshape(3, 2), strict=True):
            spectrum = np.abs(np.fft.rfft(sound[start:stop]))
            height = spectrum.argmax() * speech.RATE / (stop - start)
            wanted = 300 + 150 * number
            assert 0.88 * wanted < height < 1.12 * wanted


@pytest.mark.parametrize("held", [False, True])
def test_sounds_are_repeatable_short_and_within_range(held):
    for seed in range(25):
        one, two = (speech.ask(random.Random(seed), held) for _ in range(2))
        assert np.array_equal(one.audio, two.audio)
        assert (one.prompt, one.answer) == (two.prompt, two.answer)
        assert re.fullmatch(r"\d{1,4}", one.answer)
        assert ("digits" in one.prompt) == (len(one.answer) > 1)
        assert one.audio.dtype == np.float32
        assert one.audio.ndim == 1
        assert 0.25 < len(one.audio) / speech.RATE <= 3
        assert np.abs(one.audio).max() <= 1
        assert one.group in speech.LANGUAGES


def test_no_two_sounds_of_the_same_digit_are_equal():
    one, two = (speech.utter(random.Random(s), [4], language="en", voice="m7") for s in (1, 2))
    assert len(one) != len(two) or not np.allclose(one, two)


def test_samples_are_of_held_out_voices_and_repeatable():
    once, again = speech.samples(), speech.samples()
    assert list(once) == list(speech.LANGUAGES)
    assert all(np.array_equal(once[language], again[language]) for language in once)


def test_chance_follows_from_how_many_digits_are_asked_for():
    answers = [speech.ask(random.Random(seed), True).answer for seed in range(300)]
    chance = np.mean([0.1 ** len(answer) for answer in answers])
    assert abs(chance - speech.CHANCE["en"]) < 0.012


def test_a_third_of_training_is_recorded_otherwise_and_the_check_up_never_is(monkeypatch):
    recordings = []
    recorded = speech.recorded
    monkeypatch.setattr(
        speech, "recorded", lambda *given, **how: recordings.append(1) or recorded(*given, **how)
    )
    for seed in range(60):
        speech.ask(random.Random(seed), True)
    assert not recordings
    sounds = [speech.ask(random.Random(seed), False).audio for seed in range(150)]
    assert 0.2 < len(recordings) / 150 < 0.47
    assert max(map(len, sounds)) <= 3 * speech.RATE
    assert min(np.abs(sound).max() for sound in sounds) < 0.05
