"""Tones sound as the answer says; notes of evaluation are never played in training."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gemma_lab.minis.tasks import tones


def _heard(sound):
    """Return the tones in a sound as (Hertz, seconds), by where it is loud."""
    level = np.convolve(np.abs(sound), np.ones(320) / 320, "same")
    loud = level > 0.25 * level.max()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]]))).reshape(-1, 2)
    found = []
    for start, stop in edges:
        # zero-padded: the peak of a short tone would otherwise fall between two bins
        spectrum = np.abs(np.fft.rfft(sound[start:stop], n=1 << 16))
        found.append((spectrum.argmax() * tones.RATE / (1 << 16), (stop - start) / tones.RATE))
    return found


def test_a_tone_has_its_note_and_its_length():
    for note in (0, 12, 35):
        ((hertz, seconds),) = _heard(np.pad(tones.tone(note, seconds=0.3), 800))
        assert hertz == pytest.approx(220 * 2 ** (note / 12), rel=0.01)
        assert seconds == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("held", [False, True])
def test_what_sounds_is_what_the_answer_says(held):
    kinds = set()
    for seed in range(60):
        question = tones.ask(random.Random(seed), held)
        heard = _heard(question.audio)
        kinds.add(question.group)
        if question.group == "count":
            assert question.answer == str(len(heard))
            continue
        (first, long), (second, longer) = heard
        if question.group == "pitch":
            apart = 12 * np.log2(second / first)
            wanted = {"higher": apart > 2.5, "lower": apart < -2.5, "same": abs(apart) < 0.3}
            assert wanted[question.answer]
        else:
            assert question.answer == ("first" if long > 1.5 * longer else "second")
            assert max(long, longer) > 1.5 * min(long, longer)
    assert kinds == set(tones.CHANCE)


def test_training_never_plays_a_held_out_note(monkeypatch):
    played = []
    tone = tones.tone
    monkeypatch.setattr(tones, "tone", lambda note, **how: played.append(note) or tone(note, **how))
    for seed in range(150):
        tones.ask(random.Random(seed), False)
    assert set(played) == set(tones.notes(False))
    for seed in range(60):
        played.clear()
        tones.ask(random.Random(seed), True)
        assert set(played) & set(tones.notes(True))


def test_sounds_are_repeatable_short_and_within_range():
    for seed in range(30):
        one, two = (tones.ask(random.Random(seed), True) for _ in range(2))
        assert np.array_equal(one.audio, two.audio)
        assert one.audio.dtype == np.float32
        assert len(one.audio) / tones.RATE <= 3
        assert np.abs(one.audio).max() <= 1


def test_guessing_gets_no_more_than_chance(monkeypatch):
    monkeypatch.setattr(tones, "play", lambda rng, tones: None)
    asked = [tones.ask(random.Random(seed), True) for seed in range(1500)]
    for kind, chance in tones.CHANCE.items():
        answers = [q.answer for q in asked if q.group == kind]
        assert abs(max(map(answers.count, set(answers))) / len(answers) - chance) < 0.06


def test_a_third_of_training_has_other_tones_and_pauses_and_the_check_up_never_has(monkeypatch):
    played = []
    otherwise = tones.play_otherwise
    monkeypatch.setattr(tones, "play_otherwise", lambda *given: played.append(given[1:]) or otherwise(*given))
    for seed in range(80):
        tones.ask(random.Random(seed), True)
    assert not played
    drawn = [tones.ask(random.Random(seed), False) for seed in range(400)]
    assert 0.25 < len(played) / 400 < 0.42
    assert max(len(question.audio) for question in drawn) <= 3 * tones.RATE
    seconds = [long for some, _ in played for _, long in some]
    pauses = [pause for _, some in played for pause in some]
    assert 0.1 <= min(seconds) < 0.15
    assert 0.8 < max(seconds) <= 1.05
    assert 0.1 <= min(pauses) < 0.15
    assert 0.7 < max(pauses) <= 0.8
    counts = [len(some) for some, _ in played]
    assert {*counts} == {1, 2, 3, 4}
    assert not {note for some, _ in played for note, _ in some} & set(tones.notes(True))


def test_the_answer_about_lengths_stays_right_however_short_tones_become():
    for seed in range(400):
        (_, first), (_, second) = (drawn := tones._drawn_otherwise(random.Random(seed), "length"))[0]
        assert drawn[2] == ("first" if first > second else "second")
        assert max(first, second) > 1.9 * min(first, second)
