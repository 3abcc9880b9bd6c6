"""Who speaks: turns, thoughts, tools, and prompts that leave one open."""

from __future__ import annotations

import random

import pytest
from support import shapes

from gemma_lab.models.tokens.roles import ROLES, read_roles
from gemma_lab.models.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tokenizer():
    return shapes.tiny_tokenizer()


@pytest.fixture(scope="module")
def read(tokenizer):
    vocabulary = Vocabulary(tokenizer)

    def read(text, answer=""):
        """Return the text that each role has, neighbours joined, and the same without the scaffold."""
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = prompt + tokenizer(answer, add_special_tokens=False)["input_ids"]
        roles, scaffold = read_roles(ids, vocabulary=vocabulary, prompt_length=len(prompt))
        assert len(roles) == len(scaffold) == len(ids)
        spans: list[list[str]] = []
        for index, role, format_ in zip(ids, roles, scaffold, strict=True):
            if not spans or spans[-1][0] != role:
                spans.append([role, "", ""])
            spans[-1][1] += vocabulary.name(index)
            spans[-1][2] += "" if format_ else vocabulary.name(index)
        return [tuple(span) for span in spans]

    return read


def test_turns_of_a_conversation(read):
    text = (
        "<bos><|turn>system\nBe kind.<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\nHello<turn|>\n"
        "<|turn>user\nBye<turn|>\n<|turn>model\n"
    )
    assert read(text, "See you<turn|>") == [
        ("", "<bos>", ""),
        ("system", "<|turn>system\nBe kind.<turn|>", "Be kind."),
        ("", "\n", ""),
        ("user", "<|turn>user\nHi<turn|>", "Hi"),
        ("", "\n", ""),
        ("model", "<|turn>model\nHello<turn|>", "Hello"),
        ("", "\n", ""),
        ("user", "<|turn>user\nBye<turn|>", "Bye"),
        ("", "\n", ""),
        ("model", "<|turn>model\nSee you<turn|>", "See you"),
    ]


def test_a_thought_then_the_answer(read):
    assert read("<|turn>model\n", "<|channel>thought\nHm.\n<channel|>Yes<turn|>") == [
        ("model", "<|turn>model\n", ""),
        ("thought", "<|channel>thought\nHm.\n<channel|>", "Hm.\n"),
        ("model", "Yes<turn|>", "Yes"),
    ]


def test_an_empty_thought_in_the_prompt_is_closed_again(read):
    assert read("<|turn>model\n<|channel>thought\n<channel|>", "Yes")[-1] == ("model", "Yes", "Yes")


@pytest.mark.parametrize(
    "tail", ["<|channel>thought\n", "<|channel>thought", "<|channel>", "<|channel>thought\nSo "]
)
def test_a_thought_that_the_prompt_leaves_open_goes_on_in_the_answer(read, tail):
    rest = {"<|channel>": "thought\n", "<|channel>thought": "\n"}.get(tail, "")
    spans = read(f"<|turn>model\n{tail}", f"{rest}it is 4<channel|>Four")
    assert spans[-2][0] == "thought"
    assert spans[-2][2].endswith("it is 4")
    assert spans[-1] == ("model", "Four", "Four")


def test_tools_declared_called_and_answered(read):
    spans = read(
        "<|turn>system\nTools:<|tool>declaration:f{}<tool|><turn|>\n<|turn>user\nGo<turn|>\n<|turn>model\n",
        '<|channel>thought\nI call.<|tool_call>call:f{x:<|"|>1<|"|>}<tool_call|><|tool_response>response:f{}'
        "<tool_response|>Done.<channel|>Here<turn|>",
    )
    assert [span[0] for span in spans] == [
        "system", "tool", "system", "", "user", "", "model", "thought", "tool_call", "tool_response",
        "thought", "model",
    ]  # fmt: skip
    assert [span[2] for span in spans[8:10]] == ["call:f{x:1}", "response:f{}"]
    assert spans[10] == ("thought", "Done.<channel|>", "Done.")


def test_a_tool_block_that_the_prompt_leaves_open_goes_on(read):
    spans = read("<|turn>model\n<|tool_call>call:f{", "x:1}<tool_call|>ok")
    assert spans[-2] == ("tool_call", "<|tool_call>call:f{x:1}<tool_call|>", "call:f{x:1}")
    assert spans[-1] == ("model", "ok", "ok")


def test_the_end_of_a_turn_closes_what_was_left_open(read):
    spans = read("<|turn>model\n<|channel>thought\nHm<turn|>\n<|turn>user\nHi")
    assert spans[-1] == ("user", "<|turn>user\nHi", "Hi")
    spans = read("<|turn>model\n<|tool_call>call:f{<|turn>user\nHi")
    assert spans[-1] == ("user", "<|turn>user\nHi", "Hi")


def test_names_that_are_used_for_the_same_role(read):
    assert read("<|turn>developer\nx")[0][0] == "system"
    assert read("<|turn>assistant\nx")[0][0] == "model"
    assert read("<|turn>tool\nx")[0][0] == "tool"
    assert read("<|turn>nobody\nx")[0] == ("", "<|turn>nobody\nx", "x")


def test_a_line_that_is_no_name_is_content(read):
    long = "x" * 40
    assert read(f"<|turn>{long}\ny")[0][2] == f"{long}\ny"


def test_a_prompt_without_the_format_has_no_role_and_what_follows_is_the_models(read):
    assert read("<bos>Once upon", " a time") == [
        ("", "<bos>Once upon", "Once upon"),
        ("model", " a time", " a time"),
    ]


def test_any_ids_at_all_get_a_role_each(tokenizer):
    vocabulary, draw = Vocabulary(tokenizer), random.Random(3)
    special = list(range(24))
    for _ in range(200):
        ids = [
            draw.choice(special) if draw.random() < 0.4 else draw.randrange(520)
            for _ in range(draw.randrange(60))
        ]
        roles, scaffold = read_roles(ids, vocabulary=vocabulary, prompt_length=len(ids) // 2)
        assert len(roles) == len(scaffold) == len(ids)
        assert set(roles) <= set(ROLES)
        assert all(flag for flag, index in zip(scaffold, ids, strict=True) if vocabulary.is_special(index))
