"""Questions are typed in many ways; what they ask for stays the same."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from gemma_lab.minis.tasks import SKILLS, Question, names, recall, records
from gemma_lab.minis.tasks.typing_style import is_short, restyled, typed


def test_a_question_keeps_its_words_whatever_its_style():
    rng = random.Random(0)
    styles = Counter(restyled(rng, "What is “März” in Turkish?") for _ in range(400))
    bare = {style.lower().translate(str.maketrans("", "", "“”\"'?")) for style in styles}
    assert bare == {"what is märz in turkish"}
    assert len(styles) == 16  # four kinds of quotes, a capital letter or not, an end mark or not
    for part in ("“März”", '"März"', "'März'", " März "):
        assert 60 < sum(count for style, count in styles.items() if part in style) < 140


def test_single_quotes_do_not_enclose_an_apostrophe():
    rng = random.Random(1)
    assert not any("'L'Aquila'" in restyled(rng, "Say “L'Aquila” in German.") for _ in range(100))


@pytest.mark.parametrize("prompt", ["Which day is “14. März”? Write it as YYYY-MM-DD.", "Hi!", "7 × 8 = ?"])
def test_short_questions_are_those_without_a_text(prompt):
    assert is_short(prompt)


@pytest.mark.parametrize("skill", [recall.ask, records.ask])
def test_texts_are_typed_as_they_are(skill):
    rng = random.Random(2)
    for _ in range(100):
        question = skill(rng, False)
        assert typed(rng, question).prompt == question.prompt


def test_code_is_typed_as_it_is():
    assert not is_short('Read this: {"a": 1}')


@pytest.mark.parametrize("skill", ["names", "numbers", "dates", "arithmetic", "tools"])
def test_a_quarter_to_a_third_of_the_questions_are_typed_otherwise(skill):
    rng = random.Random(3)
    drawn = [SKILLS[skill](rng, False) for _ in range(1200)]
    again = [typed(rng, question) for question in drawn]
    changed = sum(one.prompt != other.prompt for one, other in zip(drawn, again, strict=True))
    assert 0.17 < changed / 1200 < 0.37
    assert [one.answer for one in drawn] == [other.answer for other in again]


def test_system_prompts_and_following_questions_are_typed_otherwise_too():
    question = Question(
        "x", "Ada has a key. It is old.", "", system="Answer in German.", more=(("What is it?", "a key"),)
    )
    rng = random.Random(4)
    again = [typed(rng, question) for _ in range(100)]
    assert {one.prompt for one in again} == {question.prompt}
    assert "answer in German" in {one.system for one in again}
    assert ("what is it", "a key") in {one.more[0] for one in again}
    assert typed(rng, Question("x", "Hi!", "")).system is None


def test_the_name_that_is_asked_for_is_never_changed():
    rng = random.Random(5)
    for _ in range(500):
        question = names.ask(rng, False)
        name = question.prompt.split("“")[1].split("”")[0]
        assert name in typed(rng, question).prompt
