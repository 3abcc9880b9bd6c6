"""What a grammar overruled, read from replies and from traces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.traced import generation, trace_of

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.models.chat.reply import Alternative, Overruled, Reply, Timings, Token
from gemma_lab.models.chat.sampling import Sampling


def reply_of(*tokens):
    return Reply("", "", tokens, [], 5, "stop", Sampling(), 7, "<b>\nm", Timings(1, 1, 5, len(tokens)))


REPLY = reply_of(
    Token(1, "thought", np.log(0.5), 0.1, (), "thought"),
    Token(2, "{", np.log(0.25), 0.1, (), "text", Overruled(0.75, 3, "Sure", True)),
    Token(
        4,
        "",
        np.log(0.5),
        0.1,
        (Alternative(4, "<turn|>", np.log(0.5)),),
        "special",
        Overruled(0.0, 4, "<turn|>", False),
    ),
)


def test_only_bound_tokens_are_listed():
    found = gl.analysis.overruled_tokens(REPLY)
    assert found.positions.tolist() == [1, 2]
    assert found.chosen == ("{", "<turn|>")
    assert found.first_choices == ("Sure", "<turn|>")
    assert found.probabilities == pytest.approx([0.25, 0.5])
    assert found.forbidden.tolist() == [0.75, 0.0]
    assert found.overruled.tolist() == [True, False]
    assert found.first == 1
    assert "1 of 2 tokens overruled" in repr(found)
    assert "\n" not in repr(found)
    assert found.to_pandas()["forbidden"].tolist() == [0.75, 0.0]


def test_a_free_answer_has_none():
    free = gl.analysis.overruled_tokens(reply_of(Token(1, "a", -0.1, 0.1)))
    assert len(free) == 0
    assert free.first is None
    assert free.to_pandas().empty
    assert "no token" in repr(free)
    assert free._repr_html_()
    assert free.figure().text


def test_a_trace_gives_the_same_as_its_reply():
    made = replace(
        generation([5, 6, 7], "xyz"),
        forbidden=np.float32([np.nan, 0.75, 0.0]),
        first_choice_ids=np.int32([-1, 99, 7]),
        overruled=np.array([False, True, False]),
    )
    found = gl.analysis.overruled_tokens(trace_of([1, 2], made))
    assert found.positions.tolist() == [1, 2]
    assert found.first_choices == ("<id 99>", "<id 7>")
    assert found.chosen == ("<6>", "<id 7>")  # the last token has no row, so its text is unknown
    assert found.overruled.tolist() == [True, False]
    assert found.probabilities == pytest.approx([0.5, 0.5])


def test_what_has_no_answer_is_refused():
    with pytest.raises(LabError):
        gl.analysis.overruled_tokens(trace_of([1, 2], None))
    with pytest.raises(LabError, match="str"):
        gl.analysis.overruled_tokens("answer")


def test_no_text_becomes_markup():
    evil = "<img src=x onerror=alert(1)>"
    effect = Overruled(0.5, 3, evil, True)
    html = gl.analysis.overruled_tokens(reply_of(Token(2, evil, -0.1, 0.1, (), "text", effect)))._repr_html_()
    assert "<img" not in html
    assert "<b>" not in html
    assert html.count("&lt;img") == 2
    assert "overruled</td>" in html
