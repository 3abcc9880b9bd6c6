"""What a clip shows is what its answer says, and Gemma 4's video processor takes it."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from gemma_lab.minis.tasks import drawing, motion


def _asked(kind, *, held=False, count=25):
    seeds = range(1000)
    found = (motion.ask(random.Random(seed), held) for seed in seeds)
    return [
        question for _, question in zip(range(count), (q for q in found if q.group == kind), strict=False)
    ]


def _ink(frame):
    """Return a mask of what is not background."""
    pixels = np.asarray(frame, dtype=int)
    return np.abs(pixels - pixels[0, 0]).sum(-1) > 60


def _centre(frame):
    return np.argwhere(_ink(frame)).mean(0)


def test_a_thing_moves_the_way_the_answer_says():
    ways = {(-1, 0): "up", (1, 0): "down", (0, -1): "left", (0, 1): "right"}
    asked = _asked("direction", count=40)
    for question in asked:
        centres = np.array([_centre(frame) for frame in question.video.frames])
        total = centres[-1] - centres[0]
        along = int(np.abs(total).argmax())
        steps = np.diff(centres[:, along])
        assert (np.sign(steps) == np.sign(total[along])).all()
        assert abs(total[1 - along]) < 2
        assert abs(total[along]) > 0.3 * motion.SIDE
        way = [0, 0]
        way[along] = int(np.sign(total[along]))
        assert ways[tuple(way)] == question.answer
    assert {question.answer for question in asked} == set(ways.values())


def test_the_colour_changes_at_the_time_of_the_answer():
    for question in _asked("when"):
        colours = [np.asarray(f, dtype=int)[_ink(f)].mean(0) for f in question.video.frames]
        jumps = [np.abs(two - one).sum() > 20 for one, two in itertools.pairwise(colours)]
        assert sum(jumps) == 1
        assert question.answer == f"00:{int(question.video.times[jumps.index(True) + 1]):02d}"


def test_the_colour_at_the_end_is_the_answer():
    for question in _asked("colour"):
        frame = question.video.frames[-1]
        pixel = np.median(np.asarray(frame, dtype=int)[_ink(frame)], 0)  # a moon's centre is hollow
        colours = drawing.COLOURS | drawing.MORE_COLOURS
        assert min(colours, key=lambda name: np.abs(pixel - colours[name]).sum()) == question.answer


def test_the_shape_that_moves_is_one_of_the_two_that_are_named():
    for question in _asked("which"):
        assert question.answer in question.prompt
        shapes = drawing.SHAPES + drawing.MORE_SHAPES
        assert sum(f"the {shape}" in question.prompt for shape in shapes) == 2
        masks = [_ink(frame) for frame in question.video.frames]
        assert masks[0].sum() == pytest.approx(masks[-1].sum(), abs=60)  # the two never cover each other
        assert (masks[0] != masks[-1]).any()


@pytest.mark.parametrize("held", [False, True])
def test_what_is_asked_about_is_held_out_or_not(held, monkeypatch):
    drawn = []
    draw = drawing.draw
    monkeypatch.setattr(motion, "draw", lambda things, **how: drawn.append(things) or draw(things, **how))
    for seed in range(60):
        drawn.clear()
        motion.ask(random.Random(seed), held)
        names = {one.name for things in drawn for one in things}
        assert bool(names & drawing.HELD_OUT) == held


def test_clips_are_short_and_repeatable():
    for seed in range(30):
        one, two = (motion.ask(random.Random(seed), True).video for _ in range(2))
        assert 4 <= len(one.frames) <= 6
        assert one.fps in (1.0, 2.0)
        assert [f.tobytes() for f in one.frames] == [f.tobytes() for f in two.frames]


def test_the_video_processor_makes_64_soft_tokens_of_a_frame():
    from transformers import Gemma4VideoProcessor
    from transformers.video_utils import VideoMetadata

    clip = motion.ask(random.Random(0), True).video
    count = len(clip.frames)
    metadata = VideoMetadata(
        total_num_frames=count, fps=clip.fps, duration=count / clip.fps, frames_indices=list(range(count))
    )
    made = Gemma4VideoProcessor(max_soft_tokens=70)(
        [[np.asarray(frame) for frame in clip.frames]],
        video_metadata=[metadata], do_sample_frames=False, return_tensors="pt",
    )  # fmt: skip
    assert list(made["num_soft_tokens_per_video"]) == [64]
    assert made["pixel_values_videos"].shape[0] == count


def test_guessing_gets_no_more_than_chance(monkeypatch):
    monkeypatch.setattr(motion, "draw", lambda things, **how: None)
    asked = [motion.ask(random.Random(seed), True) for seed in range(2500)]
    for kind, chance in motion.CHANCE.items():
        answers = [q.answer for q in asked if q.group == kind]
        best = 1 / 2 if kind == "which" else max(map(answers.count, set(answers))) / len(answers)
        assert abs(best - chance) < 0.06
