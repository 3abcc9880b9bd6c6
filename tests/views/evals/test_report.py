"""A check-up as text, HTML and figure: numbers right, answers never markup."""

from __future__ import annotations

import pytest

from gemma_lab.evals.questions import load_questions
from gemma_lab.evals.report import Checkup, GradedAnswer
from gemma_lab.views.evals.report import checkup_figure, checkup_html


@pytest.fixture
def checkup():
    asked = [*load_questions(skills=["digits"], per_skill=4), *load_questions(skills=["names"], per_skill=4)]
    answers = [
        GradedAnswer(q, "<script>alert(1)</script>" if i % 2 else q.answer, not i % 2)
        for i, q in enumerate(asked)
    ]
    return Checkup("toy <b>", answers, not_asked={"speech": "toy takes no audio"}, chance={"digits": 0.1})


def test_text_has_a_line_a_skill(checkup):
    lines = str(checkup).splitlines()
    assert lines[2].split() == ["digits", "4", "50.0%", "15.0%", "to", "85.0%", "10.0%"]
    assert lines[3].split()[-1] == "85.0%"  # nobody knows how well guessing does
    assert lines[-1] == "speech: not asked, toy takes no audio"


def test_html_shows_failures_as_text_with_their_pictures(checkup):
    page = checkup_html(checkup)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "toy &lt;b&gt;" in page
    assert page.count("<img ") == 2
    assert "4 wrong" in page


def test_the_figure_says_what_it_shows(checkup):
    picture = checkup_figure(checkup)
    assert picture.text == "Check-up of toy <b>: digits 50%, names 50%."
    labels = [label.get_text().strip() for label in picture.figure.axes[0].get_yticklabels()]
    assert labels[0] == "digits"
    assert "names" in labels
    assert picture.png().startswith(b"\x89PNG")
