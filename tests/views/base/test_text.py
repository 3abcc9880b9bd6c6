"""Text is made safe to show, and nothing that it needs is lost."""

from __future__ import annotations

import pytest

from gemma_lab.views.base.text import counted, isolated, percent, shorten, visible, visible_token


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "100 %"), (0.5, "50 %"), (0.0994, "9.9 %"), (0.004, "0.4 %"), (0.0001, "< 0.1 %"), (0.0, "0 %")],
)
def test_percent(probability, text):
    assert percent(probability) == text


def test_visible_spells_out_controls_and_keeps_what_text_needs():
    assert visible("a\u200d\u200c\u200eb\n\tc") == "a\u200d\u200c\u200eb\n\tc"
    assert visible("\x00\u2066\u202e") == "[U+0000][U+2066][U+202E]"


def test_a_token_shows_its_white_space_and_its_controls():
    assert visible_token(" a\n\u202e") == "␣a↵U+202E"
    assert visible_token("") == "∅"
    assert isolated("\u202e") == "\u2068U+202E\u2069"


def test_long_text_is_cut_to_its_length():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"


def test_a_count_has_its_noun():
    assert [counted(1, "layer"), counted(2048, "token")] == ["1 layer", "2,048 tokens"]
