"""Token ids to text: bytes, grapheme clusters, thoughts, tool calls."""

from __future__ import annotations

import random

import pytest
import regex
from support import shapes

from gemma_lab.models.chat.transcript import Record, Transcript
from gemma_lab.models.tokens.vocabulary import Vocabulary

RECORD = Record(-1.0, 2.0)


@pytest.fixture(scope="module")
def tokenizer():
    return shapes.tiny_tokenizer()


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return Vocabulary(tokenizer)


def read(vocabulary, ids, prompt=()):
    """Read ids to the end; return the tokens in the groups in which they became certain."""
    transcript = Transcript(vocabulary, prompt)
    groups = [transcript.add(index, RECORD) for index in ids]
    return [*groups, transcript.end()]


def flat(groups):
    return [token for group in groups for token in group]


def text(tokens, kind="text"):
    return "".join(token.text for token in tokens if token.kind == kind)


@pytest.mark.parametrize(
    "written",
    [
        "Hello, world", "Zürich — naïve café", "cafe\u0301 e\u0323\u0302", "नमस्ते क्षत्रिय", "مرحبًا بالعالم",
        "👩\u200d👩\u200d👧\u200d👦🇩🇪🇫🇷👍🏽", "日本語のテキスト", "tiếng Việt",
        "한국어 \u1112\u1161\u11ab", "a\r\nb\n\n  c", " leading", "€",
    ],
)  # fmt: skip
def test_text_is_unchanged(tokenizer, vocabulary, written):
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    groups = read(vocabulary, ids)
    tokens = flat(groups)
    assert [token.id for token in tokens] == ids
    assert text(tokens) == written == tokenizer.decode(ids, skip_special_tokens=True)
    clusters = regex.findall(r"\X", written)
    for group in groups:  # whatever has been shown so far ends where a cluster ends
        shown = [c for token in group for c in regex.findall(r"\X", token.text)]
        assert shown == clusters[: len(shown)]
        clusters = clusters[len(shown) :]
    assert not clusters


def test_a_cluster_belongs_to_the_token_that_completes_it(tokenizer, vocabulary):
    ids = tokenizer("e\u0301x", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4  # e, two bytes, x
    assert [token.text for token in flat(read(vocabulary, ids))] == ["", "", "e\u0301", "x"]


def test_bytes_that_are_no_utf8_are_shown_as_escapes(vocabulary):
    first, letter = vocabulary.find("<0xE2>"), vocabulary.find("a")
    assert [token.text for token in flat(read(vocabulary, [first, letter]))] == ["\\xe2", "a"]
    assert [token.text for token in flat(read(vocabulary, [letter, first]))] == ["a", "\\xe2"]
    end = vocabulary.find("<turn|>")
    tokens = flat(read(vocabulary, [letter, first, end]))
    assert [(token.text, token.kind) for token in tokens] == [
        ("a", "text"),
        ("\\xe2", "text"),
        ("", "special"),
    ]


def test_any_ids_at_all_give_every_token_once_and_no_replacement_character(vocabulary):
    draw = random.Random(4)
    for _ in range(300):
        ids = [draw.randrange(520) for _ in range(draw.randrange(1, 40))]
        tokens = flat(read(vocabulary, ids))
        assert [token.id for token in tokens] == ids
        assert "\ufffd" not in "".join(token.text for token in tokens)
        assert all(not token.text for token in tokens if token.kind == "special")


def ids_of(tokenizer, written):
    return tokenizer(written, add_special_tokens=False)["input_ids"]


def test_a_thought_is_separate_from_the_answer(tokenizer, vocabulary):
    tokens = flat(read(vocabulary, ids_of(tokenizer, "<|channel>thought\nHm, 2é.<channel|>Four<turn|>")))
    assert text(tokens, "thought") == "Hm, 2é."
    assert text(tokens) == "Four"
    assert {token.kind for token in tokens[:9]} == {"special"}
    assert tokens[-1].kind == "special"


def test_an_empty_thought_leaves_nothing(tokenizer, vocabulary):
    for written in (
        "<|channel>thought\n<channel|>Yes",
        "<|channel>thought<channel|>Yes",
        "<|channel><channel|>Yes",
    ):
        tokens = flat(read(vocabulary, ids_of(tokenizer, written)))
        assert (text(tokens, "thought"), text(tokens)) == ("", "Yes")


def test_a_channel_of_another_name_is_shown(tokenizer, vocabulary):
    tokens = flat(read(vocabulary, ids_of(tokenizer, "<|channel>thorough\nx<channel|>y")))
    assert (text(tokens, "thought"), text(tokens)) == ("thorough\nx", "y")


@pytest.mark.parametrize(
    ("prompt", "reply", "thought", "answer"),
    [
        ("<|turn>model\n", "Hi", "", "Hi"),
        ("<|turn>model\n<|channel>thought\n", "Hm<channel|>Hi", "Hm", "Hi"),
        ("<|turn>model\n<|channel>thought\nSo: ", "Hm<channel|>Hi", "Hm", "Hi"),
        ("<|turn>model\n<|channel>thought", "\nHm<channel|>Hi", "Hm", "Hi"),
        ("<|turn>model\n<|channel>thought\n<channel|>", "Hi", "", "Hi"),
        ("<|channel>thought\nold<channel|>x<turn|>\n<|turn>model\n", "Hi", "", "Hi"),
    ],
)
def test_the_end_of_the_prompt_is_where_the_model_starts(
    tokenizer, vocabulary, prompt, reply, thought, answer
):
    ids = ids_of(tokenizer, reply)
    tokens = flat(read(vocabulary, ids, ids_of(tokenizer, prompt)))
    assert [token.id for token in tokens] == ids
    assert (text(tokens, "thought"), text(tokens)) == (thought, answer)


def test_a_tool_call_keeps_its_delimiters(tokenizer, vocabulary):
    call = '<|tool_call>call:f{x:<|"|>Zü<|"|>}<tool_call|>'
    tokens = flat(read(vocabulary, ids_of(tokenizer, f"Wait{call}<|tool_response>")))
    assert text(tokens, "tool") == call
    assert text(tokens) == "Wait"
    assert tokens[-1].kind == "special"


def test_records_stay_with_their_tokens(vocabulary):
    transcript = Transcript(vocabulary)
    letters = [vocabulary.find(letter) for letter in "abc"]
    certain = [transcript.add(index, Record(-float(index), 0.0)) for index in letters]
    assert [len(group) for group in certain] == [0, 1, 1]  # one token late: an accent may still come
    tokens = [*flat(certain), *transcript.end()]
    assert [token.logprob for token in tokens] == [-float(index) for index in letters]
