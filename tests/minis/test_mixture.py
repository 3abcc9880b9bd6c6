"""Rows go where the losses are, and nothing is dropped."""

from __future__ import annotations

from gemma_lab.minis.mixture import Mixture


def test_all_skills_start_alike():
    assert Mixture(("names", "digits"), rows=20).shares() == {"names": 10, "digits": 10}


def test_what_is_learned_gives_its_rows_to_what_is_hard_and_keeps_one():
    mixture = Mixture(("names", "digits"), rows=20)
    for _ in range(300):
        mixture.saw({"names": 1.5, "digits": 0.001, "repeats": 9.0})
    shares = mixture.shares()
    assert shares["digits"] == 1
    assert shares["names"] >= 18
    assert set(shares) == {"names", "digits"}
