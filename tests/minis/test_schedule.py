"""Stages fill the budget, and the learning rate follows them."""

from __future__ import annotations

import itertools

import pytest

from gemma_lab.minis.schedule import stages

_SKILLS = ("names", "tools", "records")


@pytest.mark.parametrize("options", [{}, {"again": True}, {"focus": ("names",)}, {"rate": 0.1}])
def test_stages_follow_each_other_without_a_gap(options):
    found = stages(_SKILLS, **options)
    assert (found[0].start, found[-1].end) == (0.0, 1.0)
    assert all(one.end == after.start for one, after in itertools.pairwise(found))


def test_a_new_mini_ends_with_the_skills_that_copy_and_a_later_one_has_one_stage():
    assert [(one.name, one.focus) for one in stages(_SKILLS)] == [
        ("all", ()),
        ("focus", ("tools", "records")),
    ]
    assert [one.name for one in stages(("names",))] == ["all"]
    assert [one.name for one in stages(("tools",))] == ["all"]
    assert [(one.rate, one.focus) for one in stages(_SKILLS, again=True)] == [(0.5, ())]
    assert [(one.rate, one.focus) for one in stages(_SKILLS, focus=("names",), rate=0.2)] == [
        (0.2, ("names",))
    ]


def test_the_rate_is_stable_then_falls_to_a_fiftieth_and_rises_again_in_the_next_stage():
    first, last = stages(_SKILLS)
    assert first.learning_rate(0.0) == first.learning_rate(first.end * 0.6) == 1.0
    falling = [first.learning_rate(first.end * (0.6 + 0.04 * step)) for step in range(11)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.02)
    assert last.learning_rate(last.start) == pytest.approx(0.3)
    assert last.learning_rate(1.0) == pytest.approx(0.006)
    assert (last.fraction(0.0), last.fraction(1.0)) == (0.0, 1.0)
