"""The questions that ship."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gemma_lab.errors import LabError
from gemma_lab.evals.questions import (
    QUICK,
    Question,
    chance_accuracy,
    load_questions,
    named_skills,
    read,
    skill_names,
    write,
)
from gemma_lab.evals.run import question_options
from gemma_lab.minis.tasks import Clip, digits, held_out, names, numbers
from gemma_lab.minis.tasks import Question as Drawn
from gemma_lab.models.chat.tools import Call


def test_two_hundred_different_questions_a_skill():
    for skill in skill_names():
        asked = load_questions(skills=[skill])
        assert (
            len({(q.prompt, q.images, q.frames, q.sound, str(q.tools)) for q in asked}) == len(asked) == 200
        )
        assert load_questions(skills=[skill], per_skill=QUICK) == asked[:QUICK]


def test_each_grades_its_own_answer_as_right_and_another_as_wrong():
    for question in load_questions():
        calls = () if question.call is None else (Call(**question.call),)
        assert question.is_correct(question.answer, calls)
        assert not question.is_correct("nothing")
        assert not question.is_correct(question.answer, (Call("something_else"),))


def test_nothing_of_it_is_in_the_training_part():
    held = {numbers.words(n, "en") for n in range(1000) if numbers.is_held_out(n)}
    english = [q for q in load_questions(skills=["numbers"]) if q.group == "en" and not q.answer.isdecimal()]
    assert english
    assert all(question.answer in held for question in english)
    asked = 0
    for question in load_questions(skills=["names"]):
        known = [
            held_out(f"{thing} {source} {question.group}")
            for thing, said in names.things().items()
            for source in names.LANGUAGES
            if said[question.group] == question.answer and f"“{said[source]}”" in question.prompt
        ]
        assert any(known) or not known  # what training does not ask for by any name is held out as well
        asked += bool(known)
    assert asked > 100
    assert len(digits.indices(True)) > 200


def test_pictures_come_as_rgb_and_texts_without():
    seen, read = (
        load_questions(skills=["digits"], per_skill=1)[0],
        load_questions(skills=["recall"], per_skill=1)[0],
    )
    assert (seen.modality, [picture.mode for picture in seen.opened_images]) == ("image", ["RGB"])
    assert (read.modality, read.opened_images, read.video, read.audio) == ("text", [], None, None)
    assert "PNG" not in repr(seen)


def test_some_skills_are_asked_only_if_they_are_named():
    assert set(named_skills()) == {"large digits", "which", "when", "instructions", "abstention"}
    assert not set(named_skills()) & set(skill_names())
    assert not {question.skill for question in load_questions(per_skill=1)} & set(named_skills())
    for skill in named_skills():
        asked = load_questions(skills=[skill])
        assert len({repr(vars(one)) for one in asked}) == len(asked) == 200
    asked = load_questions(skills=["large digits"])
    assert {question.soft_tokens for question in asked} == {140, 280, 560}
    assert all(question.group == str(question.soft_tokens) for question in asked)
    assert question_options(asked[0])[1]["max_soft_tokens"] == asked[0].soft_tokens
    assert "max_soft_tokens" not in question_options(load_questions(skills=["digits"], per_skill=1)[0])[1]
    obeying = load_questions(skills=["instructions"])
    assert all(question.system and not question.within for question in obeying)


def test_one_skill_is_one_name():
    assert load_questions(skills="digits") == load_questions(skills=["digits"])
    with pytest.raises(LabError, match="Did you mean digits"):
        load_questions(skills="digit")


def test_an_unknown_skill_is_named_with_those_that_exist():
    with pytest.raises(LabError, match=r"no skill named juggling[\s\S]*digits, .*names"):
        load_questions(skills=["juggling"])


def test_what_is_written_is_read(tmp_path):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"città": {}}}}}
    call = {"name": "f", "arguments": {"città": "Roma", "n": 1}}
    mine = [
        Question("names", "vi", "What?", "Việt Nam", within=False, images=(b"x", b"y")),
        Question("motion", "", "Which way?", "left", frames=(b"a", b"b"), fps=1.5, system="Be brief."),
        Question("tools", "call", "Weather?", "", tools=(tool,), call=call, thinking=True),
        Question("records", "", "JSON?", "{}", schema={"type": "object"}, sound=b"\x01\x02",
                 history=({"role": "assistant", "content": "", "tool_calls": []},)),
    ]  # fmt: skip
    assert read(write(mine, tmp_path / "deep" / "q.parquet")) == mine


def test_a_drawn_question_keeps_its_media_and_all_that_is_asked_with_it(tmp_path):
    rng = random.Random(1)
    pictures = tuple(digits.draw(index, rng) for index in digits.indices(True)[:2])
    wave = np.tile(np.float32([0, 0.5, -0.5, 1.0, -1.0]), 200)
    drawn = Drawn(
        "all",
        "?",
        "!",
        images=pictures,
        video=Clip(pictures, 2.0),
        audio=wave,
        group="g",
        system="s",
        thinking=True,
    )
    (kept,) = read(write([Question.from_task(drawn)], tmp_path / "q.parquet"))
    assert [picture.tobytes() for picture in kept.opened_images] == [
        picture.tobytes() for picture in pictures
    ]
    frames, fps = kept.video
    assert ([frame.tobytes() for frame in frames], fps) == ([p.tobytes() for p in pictures], 2.0)
    assert kept.audio.original == (16_000, 1)
    assert np.abs(kept.audio.samples - wave).max() <= 1 / 32768
    assert (kept.modality, kept.system, kept.thinking, kept.within) == ("video", "s", True, True)


def test_what_is_wanted_is_the_answer_or_the_call():
    assert Question("s", "", "?", "7").wanted == "7"
    call = {"name": "f", "arguments": {"city": "Rome", "n": 2}}
    assert Question("s", "", "?", "", call=call).wanted == "f(city='Rome', n=2)"


def test_a_call_where_none_is_wanted_is_wrong_and_the_other_way_round():
    said = Question("tools", "no call", "Say hello.", "hello", tools=({},))
    assert said.is_correct("Hello.")
    assert not said.is_correct("Hello.", (Call("hello"),))
    called = Question("tools", "call", "?", "", call={"name": "f", "arguments": {}})
    assert called.is_correct("", (Call("f"),))
    assert not called.is_correct("")


def _of(answers, groups):
    return [Question("s", group, "?", answer) for answer, group in zip(answers, groups, strict=True)]


def test_chance_is_that_of_a_guess_among_the_groups_other_answers():
    assert chance_accuracy(_of("abab", "gggg")) == pytest.approx(1 / 3)
    assert chance_accuracy(_of("aabc", "gghh")) == pytest.approx(
        0.5
    )  # always right in one group, never in the other
    assert chance_accuracy(_of(["yes", "Yes.", "no"], "ggg")) == pytest.approx(1 / 3)
    assert chance_accuracy(_of("x", "g")) == 0
    assert chance_accuracy(_of("aabb", "aabb")) == pytest.approx(
        1 / 3
    )  # groups that are the answers tell nothing
    many = random.Random(0)
    answers = [str(many.randrange(10)) for _ in range(2000)]
    assert chance_accuracy(_of(answers, "g" * 2000)) == pytest.approx(0.1, abs=0.01)
