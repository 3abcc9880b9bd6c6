"""In an eventful clip only the frame before tells what happened."""

from __future__ import annotations

import itertools
import random

import pytest

from gemma_lab.minis.tasks.cells import NEWS, events
from gemma_lab.minis.tasks.drawing import HELD_OUT
from gemma_lab.minis.tasks.eventful_clips import cues, eventful


@pytest.fixture(scope="module")
def clips():
    rng = random.Random(0)
    return [eventful(rng) for _ in range(300)]


def test_each_frame_differs_from_the_one_before_in_one_thing_at_most(clips):
    for frames in clips:
        assert 4 <= len(frames) <= 6
        for before, after in itertools.pairwise(frames):
            assert len(before) == len(after)
            assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1


def test_everything_happens_to_any_number_of_shapes_about_as_often(clips):
    for count in (1, 2, 3):
        kinds = [
            said["happened"] for frames in clips if len(frames[0]) == count for said in events(frames)[1:]
        ]
        for kind in ("moved", "other colour", "other shape"):
            assert 0.08 < kinds.count(NEWS.index(kind)) / len(kinds) < 0.35, (count, kind)
        assert 0.3 < kinds.count(0) / len(kinds) < 0.7


def test_shapes_of_a_frame_differ_and_no_combination_is_held_out(clips):
    for frames in clips:
        for things in frames:
            assert len({one.shape for one in things}) == len(things)
            assert not {one.name for one in things} & HELD_OUT


def test_cues_say_what_happened_when_and_to_what(clips):
    for frames in clips[:60]:
        times = [f"00:0{second}" for second in range(len(frames))]
        found = dict(cues(frames, times))
        for time, (before, after) in zip(times[1:], itertools.pairwise(frames), strict=True):
            changed = [new.shape for old, new in zip(before, after, strict=True) if old != new]
            assert [found[f"{time} changes"]] == changed if changed else f"{time} changes" not in found
        for cue, answer in found.items():
            if answer in times:
                shape = cue.removesuffix(" changes")
                second = times.index(answer)
                assert found[f"{answer} changes"] == shape
                assert shape in {one.shape for one in frames[second]}
        for time, things in zip(times, frames, strict=True):
            assert all(found[f"{time} {one.shape} colour"] == one.colour for one in things)
