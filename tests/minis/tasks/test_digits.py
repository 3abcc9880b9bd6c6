"""Digits of training are drawn smaller, more tilted, fainter and with noise as well."""

from __future__ import annotations

import random

import numpy as np

from gemma_lab.minis.tasks import digits


def _pictures(fixed):
    index = digits.indices(False)[0]
    return [np.asarray(digits.draw(index, random.Random(n), fixed=fixed), dtype=float) for n in range(300)]


def _contrast(picture):
    return np.abs(picture.max((0, 1)) - picture.min((0, 1))).max()


def _grain(picture):
    """Return the standard deviation in the paper's row of pixels at the top."""
    return picture[0].std(0).max()


def _side(picture):
    """Return the larger side of the digit, as a share of the picture's."""
    paper = np.median(picture, (0, 1))
    apart = np.abs(picture - paper).max(-1)
    inked = apart > 0.4 * apart.max()
    return max(np.ptp(np.flatnonzero(inked.any(axis))) for axis in (0, 1)) / len(picture)


def test_a_third_of_training_is_drawn_otherwise():
    fixed, varied = _pictures(True), _pictures(False)
    assert min(map(_contrast, fixed)) > 70
    assert all(_grain(picture) == 0 for picture in fixed if _side(picture) < 0.6)
    noisy = sum(_grain(picture) > 2 for picture in varied) - sum(_grain(picture) > 2 for picture in fixed)
    assert 0.08 < noisy / 300 < 0.25
    assert min(map(_side, varied)) < 0.35 < min(map(_side, fixed))
    assert max(map(_side, varied)) < 1


def test_only_training_asks_for_digits_that_are_drawn_otherwise(monkeypatch):
    asked = []
    draw = digits.draw
    monkeypatch.setattr(
        digits, "draw", lambda *given, fixed: asked.append(fixed) or draw(*given, fixed=fixed)
    )
    for held in (False, True):
        for seed in range(20):
            question = digits.ask(random.Random(seed), held)
            assert question.answer == question.group
    assert asked == [False] * 20 + [True] * 20
