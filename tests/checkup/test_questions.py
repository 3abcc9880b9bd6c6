"""The questions that ship."""

from __future__ import annotations

import pytest

from gemma_lab.checkup.questions import QUICK, Question, questions, skills, write
from gemma_lab.errors import LabError
from gemma_lab.minis.tasks import digits, names, numbers


def test_two_hundred_different_questions_a_skill():
    for skill in skills():
        asked = questions(only=[skill])
        assert len({(question.prompt, question.png) for question in asked}) == len(asked) == 200
        assert questions(only=[skill], each=QUICK) == asked[:QUICK]


def test_each_grades_its_own_answer_as_right_and_another_as_wrong():
    for question in questions():
        assert question.is_right(question.answer)
        assert not question.is_right("nothing")


def test_nothing_of_it_is_in_the_training_part():
    held = {numbers.words(n, "en") for n in range(1000) if numbers.is_held_out(n)}
    english = [q for q in questions(only=["numbers"]) if q.group == "en" and not q.answer.isdecimal()]
    assert english
    assert all(question.answer in held for question in english)
    pairs = {
        (said[source], said[target])
        for thing, said in names.things().items()
        for source in names.LANGUAGES
        for target in names.LANGUAGES
        if source != target and names.is_held_out(thing, source, target)
    }
    for question in questions(only=["names"]):
        assert any(f"“{source}”" in question.prompt for source, answer in pairs if answer == question.answer)
    assert len(digits.indices(True)) > 200


def test_pictures_come_as_rgb_and_texts_without():
    seen, read = questions(only=["digits"], each=1)[0], questions(only=["recall"], each=1)[0]
    assert (seen.modality, seen.image.mode) == ("image", "RGB")
    assert (read.modality, read.image) == ("text", None)
    assert "PNG" not in repr(seen)


def test_an_unknown_skill_is_named_with_those_that_exist():
    with pytest.raises(LabError, match=r"no skill named juggling[\s\S]*digits, names"):
        questions(only=["juggling"])


def test_what_is_written_is_read(tmp_path):
    import pyarrow.parquet as pq

    mine = Question("names", "vi", "What?", "Việt Nam", within=False, png=b"x")
    rows = pq.read_table(write([mine], tmp_path / "deep" / "q.parquet")).to_pylist()
    assert [Question(**row) for row in rows] == [mine]
