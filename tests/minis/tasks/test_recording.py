"""Conditions of recording change how a sound is heard, not what."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gemma_lab.minis.tasks.recording import low_passed, recorded

RATE = 16_000
TONE = (np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE) / 2).astype(np.float32)


def test_a_low_pass_keeps_what_is_below_and_removes_what_is_above():
    high = np.sin(2 * np.pi * 6000 * np.arange(RATE) / RATE)
    assert np.allclose(low_passed(TONE, 3500, rate=RATE), TONE, atol=1e-3)
    assert np.abs(low_passed(high, 4000, rate=RATE)).max() < 1e-3


def test_a_sound_keeps_its_tone_among_silence_and_noise():
    lengths, levels = [], []
    for seed in range(60):
        sound = recorded(random.Random(seed), TONE, rate=RATE, longest=3 * RATE)
        lengths.append(len(sound))
        assert sound.dtype == np.float32
        assert np.abs(sound).max() <= 1
        loud = np.flatnonzero(
            np.convolve(np.abs(sound), np.ones(320) / 320, "same") > 0.5 * np.abs(sound).mean()
        )
        assert 0.9 * RATE < np.ptp(loud) < 1.1 * RATE
        before, after = loud[0], len(sound) - loud[-1]
        assert max(before, after) < 1.05 * RATE
        heard = np.abs(np.fft.rfft(sound))
        assert heard.argmax() * RATE / len(sound) == pytest.approx(1000, abs=2)
        levels.append(20 * np.log10(np.abs(sound).max() / 0.5))
    assert max(lengths) <= 3 * RATE
    assert max(lengths) > 2.5 * RATE
    assert min(lengths) == RATE
    assert min(levels) < -15
    assert min(levels) > -25


def test_a_sound_that_leaves_no_room_gets_no_silence():
    for seed in range(20):
        assert len(recorded(random.Random(seed), TONE, rate=RATE, longest=RATE)) == RATE
