"""What a clip shows is what its answer says, and Gemma 4's video processor takes it."""

from __future__ import annotations

import dataclasses
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


def test_the_direction_alone_is_asked_for_and_grouped_by_the_way():
    asked = [motion.direction(random.Random(seed), True) for seed in range(40)]
    assert {question.skill for question in asked} == {"direction"}
    assert {question.group for question in asked} == {"left", "right", "up", "down"}
    assert all(question.group == question.answer for question in asked)
    assert all("left, right, up or down" in question.prompt for question in asked)


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


def test_training_asks_more_about_the_same_clip_and_evaluation_does_not():
    assert not any(motion.ask(random.Random(seed), True).more for seed in range(40))
    asked = [motion.ask(random.Random(seed), False) for seed in range(200)]
    more = [pair for question in asked for pair in question.more]
    assert {len(question.more) for question in asked} <= set(range(6))
    for start in ("Does the", "What colour is the", "Is the"):
        assert any(prompt.startswith(start) for prompt, _ in more)
    assert all(prompt != question.prompt for question in asked for prompt, _ in question.more)


def test_the_further_questions_are_answered_by_the_things_of_each_frame():
    red, blue = drawing.Thing("red", "star", 0.2, 0.7, 0.1), drawing.Thing("blue", "moon", 0.5, 0.5, 0.1)
    moved = dataclasses.replace(red, x=0.8)
    film = motion._Film([[red, blue], [moved, blue]], 1.0, (250, 250, 250))
    asked = motion._about(random.Random(0), film)
    assert ("Does the star move?", "yes") in asked
    assert ("Does the moon move?", "no") in asked
    assert ("Is the star on the left or on the right at 00:00?", "left") in asked
    assert ("Is the star on the left or on the right at 00:01?", "right") in asked
    assert ("Is the star at the top or at the bottom at 00:01?", "bottom") in asked
    assert not any("moon on" in prompt for prompt, _ in asked)  # it lies in the middle
    turned = motion._Film([[red], [dataclasses.replace(red, colour="green")]], 1.0, (250, 250, 250))
    asked = motion._about(random.Random(0), turned)
    assert ("What colour is the star at 00:00?", "red") in asked
    assert ("What colour is the star at 00:01?", "green") in asked
    assert "00:01" in [answer for prompt, answer in asked if prompt in motion._ASK["when"]]


def test_further_questions_ask_which_of_two_things_moves_and_when_one_changes():
    more = [pair for seed in range(300) for pair in motion.ask(random.Random(seed), False).more]
    moving = [(prompt, answer) for prompt, answer in more if prompt.startswith("Which shape moves")]
    changing = [answer for prompt, answer in more if "Answer as mm:ss" in prompt]
    assert len(moving) > 10
    assert len(changing) > 10
    assert all(answer in prompt for prompt, answer in moving)
    assert {len(answer) for answer in changing} == {5}


def test_cues_ask_for_the_time_of_a_change_the_thing_that_moves_and_what_is_seen_when():
    red, blue = drawing.Thing("red", "star", 0.2, 0.7, 0.1), drawing.Thing("blue", "moon", 0.5, 0.2, 0.1)
    film = motion._Film([[red, blue], [dataclasses.replace(red, x=0.8), blue]], 1.0, (250, 250, 250))
    assert sorted(motion._cues(film)) == sorted(
        [("star way", "right"), ("moves", "star"), ("rests", "moon"), ("moon end", "blue"),
         ("00:00 star side", "left"), ("00:01 star side", "right"),
         ("00:00 star height", "bottom"), ("00:01 star height", "bottom")]
    )  # fmt: skip
    green = dataclasses.replace(red, colour="green")
    turned = motion._Film([[red], [red], [green]], 1.0, (250, 250, 250))
    assert sorted(motion._cues(turned)) == sorted(
        [("star end", "green"), ("changes", "00:02"), ("00:00 colour", "red"), ("00:01 colour", "red"),
         ("00:02 colour", "green")]
    )  # fmt: skip
    fast = dataclasses.replace(turned, fps=2.0)
    assert motion._cues(fast) == [("star end", "green")]  # two frames of a second have the same time
    assert all(motion.shown(random.Random(seed))[2] for seed in range(60))


def test_when_is_asked_alone_and_grouped_by_the_time():
    asked = [motion.when(random.Random(seed), True) for seed in range(80)]
    assert {question.skill for question in asked} == {"when"}
    assert all(question.group == question.answer for question in asked)
    assert len({question.answer for question in asked}) == 5


def test_which_is_asked_alone_and_grouped_by_the_pair_so_that_a_guess_is_one_of_two():
    asked = [motion.which(random.Random(seed), True) for seed in range(120)]
    assert {question.skill for question in asked} == {"which"}
    assert len({question.group for question in asked}) == 6
    assert all(question.answer in question.group.split(" or ") for question in asked)
    assert all(len(question.group.split(" or ")) == 2 for question in asked)


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
