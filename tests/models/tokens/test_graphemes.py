"""Bytes to characters: whole clusters, exact text, no replacement character."""

from __future__ import annotations

import random

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.evals.parallel_sentences import languages, sentences
from gemma_lab.models.tokens.graphemes import GraphemeStream, cluster

TRICKY = {
    "family": "👩\u200d👩\u200d👧\u200d👦",
    "flags": "🇩🇪🇫🇷🇻🇳",
    "skin tone": "👍🏽👋🏿",
    "keycap": "1\ufe0f\u20e3",
    "conjuncts": "क्षत्रिय ज्ञान स्त्री",
    "Thai": "กำลังนอนหลับอยู่ที่นี่",
    "harakat": "مُحَمَّدٌ بِسْمِ ٱللَّهِ",
    "niqqud": "שָׁלוֹם בְּרֵאשִׁית",
    "Vietnamese NFD": "Tie\u0302\u0301ng Vie\u0323\u0302t",
    "Han beyond the plane": "日本語𠮷野家",
    "jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "Tamil": "நி க்ஷ ஸ்ரீ",
    "Zalgo": "Z" + "\u0301\u0327\u0330" * 20 + "a",
    "line ends": "a\r\nb\n\nc",
}


def bytewise(text):
    return [bytes([byte]) for byte in text.encode()]


def cut(text, seed):
    """Cut the bytes of a text into tokens anywhere, also inside a character."""
    data, draw = text.encode(), random.Random(seed)
    tokens, start = [], 0
    while start < len(data):
        stop = start + draw.randrange(1, 6)
        tokens.append(data[start:stop])
        start = stop
    return tokens


@pytest.mark.parametrize("text", TRICKY.values(), ids=TRICKY.keys())
@pytest.mark.parametrize("tokens", [bytewise, lambda text: cut(text, 1), lambda text: cut(text, 2)])
def test_a_cluster_is_whole_and_on_the_token_that_completes_it(text, tokens):
    data = tokens(text)
    texts, groups = cluster(data)
    assert "".join(texts) == text
    sizes = np.cumsum([len(item) for item in data])
    ends = {len("".join(regex.findall(r"\X", text)[: n + 1]).encode()) for n in range(len(text))}
    said = 0
    for place, shown in enumerate(texts):
        said += len(shown.encode())
        # no more than has arrived, and all that is certain to be whole
        assert said == max(end for end in {0, *ends} if end <= sizes[place])
        inside = sizes[place] not in ends
        if place + 1 < len(data):
            assert (groups[place] == groups[place + 1]) == inside


@pytest.mark.parametrize("language", [language.code for language in languages()])
def test_twenty_languages_byte_by_byte(language):
    text = " ".join(sentences(language).values())
    texts, groups = cluster(bytewise(text))
    assert "".join(texts) == text
    assert [shown for shown in texts if shown] == regex.findall(r"\X", text)
    assert groups[-1] + 1 == len(regex.findall(r"\X", text))


def test_one_token_may_hold_many_characters_and_a_half():
    texts, groups = cluster([b"ab e", "\u0301 cd".encode(), b"!"])
    assert texts == ["ab ", "e\u0301 cd", "!"]
    assert groups.tolist() == [0, 0, 1]


def test_control_tokens_part_what_stands_beside_them():
    texts, groups = cluster([b"e", None, "\u0301".encode(), b"\xe2\x82", None, b"\xac"])
    assert texts == ["e", "", "\u0301", "\\xe2\\x82", "", "\\xac"]
    assert groups.tolist() == [0, 1, 2, 3, 4, 5]


def test_bytes_that_are_no_character_are_written_out_on_their_own_tokens():
    texts, _ = cluster([b"a", b"\xe2", b"b", b"\xff", b"\xed\xa0\x80"])
    assert texts == ["a", "\\xe2", "b", "\\xff", "\\xed\\xa0\\x80"]


def test_a_replacement_character_spelled_in_bytes_is_written_out():
    texts, groups = cluster([b"\xef", b"\xbf", b"\xbd"])
    assert "".join(texts) == "\\ufffd"
    assert texts[-1] == "\\ufffd"
    assert groups.tolist() == [0, 0, 0]


def test_any_bytes_at_all_keep_their_order_and_show_no_replacement_character():
    draw = random.Random(7)
    for _ in range(200):
        data = [
            None if draw.random() < 0.05 else draw.randbytes(draw.randrange(0, 4))
            for _ in range(draw.randrange(60))
        ]
        texts, groups = cluster(data)
        assert len(texts) == len(groups) == len(data)
        assert "\ufffd" not in "".join(texts)
        assert set(np.diff(groups)) <= {0, 1}
        expected, run = "", b""
        for item in [*data, None]:
            if item is None:
                expected += run.decode("utf-8", "backslashreplace")
                run = b""
            else:
                run += item
        assert "".join(texts) == expected.replace("\ufffd", "\\ufffd")


def test_nothing_gives_nothing():
    texts, groups = cluster([])
    assert texts == []
    assert groups.shape == (0,)


def _streamed(data):
    """Return the texts of a stream, and how many were certain after each token."""
    stream, texts, counts = GraphemeStream(), [], []
    for item in data:
        texts += stream.add(item)
        counts.append(len(texts))
    return texts + stream.end(), counts


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=4), max_size=20))
def test_a_stream_shows_the_same_texts_for_any_bytes(data):
    assert _streamed(data)[0] == cluster(data)[0]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=12), st.integers(0, 99), st.sampled_from(sorted(TRICKY.values())))
def test_a_stream_shows_the_same_texts_for_any_text_cut_anywhere(text, seed, tricky):
    data = cut(text + tricky + text, seed)
    assert _streamed(data)[0] == cluster(data)[0]


def test_a_stream_is_one_token_late():
    assert _streamed([b"a", b"b", b"e", "\u0301".encode(), b"x", b"y"])[1] == [0, 1, 2, 2, 4, 5]
    assert _streamed([b"\xe2", b"\x82", b"\xac", b"x"])[1] == [0, 0, 2, 3]
