"""Needles lie where they are said to, and the grid counts what was answered."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.errors import ContextFull, LabError
from gemma_lab.evals.needle_in_a_haystack import Haystack, NeedleAnswer, needle, needles


@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("tokens", [600, 2000])
def test_the_fact_lies_at_its_depth(tiny_lab, tokens, depth):
    lab = tiny_lab("26B-A4B")
    made = needle(lab, tokens=tokens, depth=depth, others=2, seed=3)
    assert made.text.count(made.fact) == 1
    assert made.text.count("The code of") == 3
    assert made.answer in made.fact
    assert tokens - 80 < made.tokens <= tokens  # the tiny vocabulary has a token a letter
    where = made.text.index(made.fact) / len(made.text)
    assert abs(where - depth) < 0.15
    assert abs(made.depth - where) < 0.05
    assert needle(lab, tokens=tokens, depth=depth, others=2, seed=3) == made
    assert needle(lab, tokens=tokens, depth=depth, others=2, seed=4) != made


def test_a_short_text_still_has_its_facts(tiny_lab):
    made = needle(tiny_lab("26B-A4B"), tokens=1, depth=1.0, others=9)
    assert made.text.count("The code of") == 10
    assert made.text.endswith(made.fact)


def test_the_grid_grades_what_is_said(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    told = []

    class Said:
        def __init__(self, text):
            self.text = text

    def chat(prompt, **_settings):
        told.append(prompt)
        who = prompt.rpartition("code of ")[2].rstrip("?")
        right = prompt.partition(f"The code of {who} is ")[2][:2]
        return Said(right if len(prompt) < 700 else "nothing")

    monkeypatch.setattr(lab, "chat", chat)
    found = needles(lab, lengths=(300, 900), depths=(0, 1), asked=3, others=1, progress=False)
    assert found.right.tolist() == [[3, 0], [3, 0]]
    assert found.asked.tolist() == [[3, 3], [3, 3]]
    assert len(set(told)) == 12
    assert found.by_length()[300][0] == 1
    low, high = found.interval(0, 900)
    assert (low, round(high, 2)) == (0, 0.56)
    assert repr(found) == ("Haystack(tiny-26B-A4B: 2 depths × 2 lengths up to 900 tokens, 6 of 12 found)")
    assert isinstance(found.answers[0], NeedleAnswer)


def test_it_really_asks_the_model(tiny_lab):
    found = needles(tiny_lab("31B"), lengths=(50,), depths=(0.5,), asked=1, others=0, progress=False)
    assert isinstance(found, Haystack)
    assert found.answers[0].reply == tiny_lab("31B").last_reply.text
    assert int(found.right.sum()) == int(found.answers[0].right)


def test_bad_numbers_are_told(tiny_lab):
    lab = tiny_lab("31B")
    for bad in ({"tokens": 0}, {"tokens": 9, "depth": 1.5}, {"tokens": 9, "others": 30}):
        with pytest.raises(LabError, match=next(reversed(bad))):
            needle(lab, **bad)
    with pytest.raises(LabError, match="grid of needles is empty"):
        needles(lab, lengths=())
    for bad in (
        {"lengths": 128},
        {"lengths": "9"},
        {"depths": 0.5},
        {"lengths": ["9"]},
        {"depths": [2]},
        {"asked": 0},
    ):
        with pytest.raises(LabError, match=next(iter(bad))[:-1]):
            needles(lab, **bad)


def test_lengths_beyond_the_context_are_refused_before_a_text_is_built(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")
    monkeypatch.setattr("gemma_lab.evals.needle_in_a_haystack.filler", lambda _: pytest.fail("built"))
    monkeypatch.setattr(lab, "chat", lambda *_, **__: pytest.fail("asked"))
    for length in (lab.context, 10**12, 10**30):
        with pytest.raises(ContextFull, match=f"{length:,}"):
            needle(lab, tokens=length)
        with pytest.raises(ContextFull, match=f"{length:,}"):
            needles(lab, lengths=[5, length], progress=False)


def test_the_figure_and_the_table_say_the_numbers():
    found = Haystack("m<b>", (100, 200), (0.0, 1.0), np.asarray([[5, 2], [4, 0]]), np.full((2, 2), 5))
    picture = found.figure()
    assert "100 tokens 90% [60%, 98%], 200 tokens 20% [6%, 51%]" in picture.text
    words = [text.get_text() for text in picture.figure.axes[0].texts]
    assert words == ["5 / 5", "2 / 5", "4 / 5", "0 / 5"]
    page = found._repr_html_()
    assert "5 of 5 (57% – 100%)" in page
    assert "<b>" not in page
