"""What is new at a soft token follows from what stands there before and after."""

from __future__ import annotations

import dataclasses
import random

from gemma_lab.minis.tasks import compare, motion
from gemma_lab.minis.tasks.cells import ALL_SHAPES, NEWS, UNKNOWN, changes, events
from gemma_lab.minis.tasks.drawing import Thing

HERE = Thing("blue", "square", 0.31, 0.31, 0.16)
THERE = Thing("blue", "square", 0.81, 0.81, 0.16)
GRID = 8
_HERE, _THERE, _NOWHERE = 2 * GRID + 2, 6 * GRID + 6, 7 * GRID + 0  # soft tokens


def _kinds(before, after):
    """Return what is new where the thing was, where it may have come to, and where nothing ever is."""
    news = changes([[before], [after]], GRID)
    assert news[: GRID**2] == [UNKNOWN] * GRID**2
    second = news[GRID**2 :]
    assert len(second) == GRID**2
    return [None if second[place] == UNKNOWN else NEWS[second[place]] for place in (_HERE, _THERE, _NOWHERE)]


def test_a_thing_that_moves_leaves_one_place_and_comes_to_another():
    assert _kinds(HERE, THERE) == ["left", "moved", "nothing"]


def test_what_still_shows_a_thing_that_moved_is_not_said_to_have_changed():
    moved = dataclasses.replace(HERE, x=0.45)  # by one soft token
    second = changes([[HERE], [moved]], GRID)[GRID**2 :]
    row = second[2 * GRID : 3 * GRID]  # through the middle of both
    came, gone, showed_it = row[4], row[1], row[2:4]
    assert (NEWS[came], NEWS[gone], set(showed_it)) == ("moved", "left", {UNKNOWN})


def test_a_thing_that_rests_is_told_from_nothing():
    assert _kinds(HERE, HERE) == ["rested", "nothing", "nothing"]
    one, other = HERE, THERE
    second = changes([[one, other], [one, dataclasses.replace(other, x=0.55)]], GRID)[GRID**2 :]
    assert NEWS[second[_HERE]] == "rested"
    assert NEWS.index("rested") not in second[4 * GRID :]  # where the other one moved


def test_a_colour_and_a_shape_that_change_are_told_apart():
    assert _kinds(HERE, dataclasses.replace(HERE, colour="red"))[0] == "other colour"
    assert _kinds(HERE, dataclasses.replace(HERE, shape="circle"))[0] == "other shape"


def test_what_lies_on_an_edge_is_not_said():
    assert UNKNOWN in changes([[HERE], [HERE]], GRID)[GRID**2 :]


def test_an_image_says_what_happened_since_the_one_before_and_to_which_shape():
    red = dataclasses.replace(HERE, colour="red")
    star = Thing("green", "star", 0.8, 0.3, 0.16)
    gone = dataclasses.replace(star, y=0.6)
    first, second, third, fourth = events([[HERE, star], [red, star], [red, star], [red, gone]])
    assert first == {}
    assert second == {"happened": NEWS.index("other colour"), "which": ALL_SHAPES.index("square") + 1}
    assert third == {"happened": NEWS.index("nothing"), "which": 0}
    assert fourth == {"happened": NEWS.index("moved"), "which": ALL_SHAPES.index("star") + 1}


def _drawn(ask, group):
    found = (ask(random.Random(seed), False) for seed in range(400))
    return [question for question in found if question.group == group][:20]


def test_clips_say_where_something_moves_or_changes():
    for group, expected in (("direction", {"left", "moved"}), ("when", {"other colour", "rested"})):
        for question in _drawn(motion.ask, group):
            news = question.news(GRID)
            assert len(news) == GRID**2 * len(question.video.frames)
            assert {NEWS[new] for new in news if new > 0} <= expected
            assert expected - {"left"} <= {NEWS[new] for new in news if new > 0}


def test_pairs_of_pictures_say_what_changed_and_whether_the_digit_did():
    said = {"place": {"moved", "left"}, "colour": {"other colour"}, "shape": {"other shape"}}
    for question in _drawn(compare.ask, "changed"):
        assert {NEWS[new] for new in question.news(GRID) if new > 0} == said[question.answer]
    for question in _drawn(compare.ask, "same"):
        second = question.news(GRID)[GRID**2 :]
        assert {NEWS[new] for new in second} == {"same digit" if question.answer == "yes" else "other digit"}
    assert all(question.news is None for question in _drawn(compare.ask, "more"))
    for question in _drawn(compare.ask, "more"):
        first, second = (said["count"] for said in question.pictures)
        assert question.answer == ("first" if first > second else "second")
    for question in _drawn(compare.ask, "same"):
        first, second = question.pictures
        assert (first["digit"] == second["digit"]) == (question.answer == "yes")
        assert NEWS[second["happened"]] == ("same digit" if question.answer == "yes" else "other digit")
