"""Rows go where the losses are, and nothing is dropped."""

from __future__ import annotations

import random

from gemma_lab.minis.skill_mixture import Mixture


def drawn(mixture):
    rng = random.Random(0)
    counts = {"names": 0, "digits": 0}
    for _ in range(200):
        for skill, rows in mixture.draw(rng).items():
            counts[skill] += rows
    return counts


def test_all_skills_start_alike():
    counts = drawn(Mixture(("names", "digits"), rows=20))
    assert sum(counts.values()) == 4000
    assert abs(counts["names"] - 2000) < 150


def test_what_is_learned_gives_its_rows_to_what_is_hard_and_keeps_some():
    mixture = Mixture(("names", "digits"), rows=20)
    for _ in range(300):
        mixture.saw({"names": 1.5, "digits": 0.001, "repeats": 9.0})
    counts = drawn(mixture)
    assert 50 < counts["digits"] < 250
    assert sum(counts.values()) == 4000


def test_a_running_loss_begins_with_the_first_that_was_seen():
    mixture = Mixture(("names", "digits"), rows=20)
    assert mixture.losses == {}
    assert mixture.loss("names") == 2.0
    mixture.saw({"names": 0.4, "repeats": 9.0})
    assert mixture.losses == {"names": 0.4}
    mixture.saw({"names": 0.2})
    assert 0.39 < mixture.loss("names") < 0.4


def test_without_skills_nothing_is_drawn():
    assert Mixture((), rows=20).draw(random.Random(0)) == {}


def test_sums_without_thinking_keep_their_weight_however_lost_they_are():
    mixture = Mixture(("names", "arithmetic"), rows=20)
    for _ in range(300):
        mixture.saw({"names": 0.15, "arithmetic": 1.9})
    rng = random.Random(0)
    rows = sum(mixture.draw(rng)["arithmetic"] for _ in range(200))
    assert 1800 < rows < 2200


def test_answers_of_many_tokens_keep_more_rows_when_they_are_learned():
    mixture = Mixture(("names", "thinking"), rows=20)
    for _ in range(300):
        mixture.saw({"names": 0.001, "thinking": 0.001})
    rng = random.Random(0)
    rows = sum(mixture.draw(rng)["thinking"] for _ in range(200))
    assert 2800 < rows < 3200


def test_skills_in_focus_share_a_third_of_every_step_and_the_others_are_drawn_evenly():
    mixture = Mixture(("names", "digits", "tools", "records"), rows=12, focus=("tools", "records"))
    for _ in range(300):
        mixture.saw({"names": 1.5, "digits": 0.001, "tools": 0.001, "records": 0.001})
    rng, names = random.Random(0), 0
    for _ in range(100):
        counts = mixture.draw(rng)
        assert (counts["tools"], counts["records"]) == (2, 2)
        assert counts["names"] + counts["digits"] == 8
        names += counts["names"]
    assert 340 < names < 460


def test_more_skills_in_focus_than_rows_take_turns():
    focus = ("names", "digits", "tools", "records", "dates")
    mixture = Mixture((*focus, "recall"), rows=12, focus=focus)
    rng, counts = random.Random(0), dict.fromkeys(focus, 0)
    for _ in range(200):
        drawn = mixture.draw(rng)
        assert drawn["recall"] == 8
        for skill in focus:
            counts[skill] += drawn[skill]
    assert all(130 < rows < 190 for rows in counts.values())  # 160 each on average


def test_with_nothing_but_a_focus_only_its_rows_are_drawn():
    assert Mixture(("tools",), rows=12, focus=("tools",)).draw(random.Random(0)) == {"tools": 4}
