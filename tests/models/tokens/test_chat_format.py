"""The chat format: one reader, from the beginning of a prompt or from its last turn."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shapes

from gemma_lab.models.chat.transcript import Record, Transcript
from gemma_lab.models.tokens.chat_format import TOOL_BLOCKS, ChatFormatReader
from gemma_lab.models.tokens.roles import read_roles
from gemma_lab.models.tokens.vocabulary import Vocabulary

TOKENIZER = shapes.tiny_tokenizer()
VOCABULARY = Vocabulary(TOKENIZER)
PIECES = (
    *(f"<|{name}>" for name in ("turn", "channel", *TOOL_BLOCKS)),
    *(f"<{name}|>" for name in ("turn", "channel", *TOOL_BLOCKS)),
    "user\n", "model\n", "thought\n", "hi", '<|"|>', "\n", "x" * 40,
)  # fmt: skip


def ids(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("<|turn>model\n", ""),
        ("<|turn>model\n<|channel>thought\nHm", "thought"),
        ("<|turn>model\n<|channel>thought\nHm<channel|>", ""),
        ("<|turn>model\n<|channel>thought\nHm<|tool_call>call:f{", "tool_call"),
        ("<|turn>model\n<|channel>thought\nHm<|tool_call>call:f{}<tool_call|>", "thought"),
        ("<|channel>thought\nnever closed<turn|>\n<|turn>model\n", ""),
        ("<|tool_response>response:f{", "tool_response"),
    ],
)
def test_the_block_that_a_prompt_leaves_open(text, block):
    reader = ChatFormatReader(VOCABULARY)
    reader.read_tail(ids(text))
    assert reader.block == block


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_reading_from_the_last_turn_on_gives_the_same_state(earlier, later):
    whole, tail = ChatFormatReader(VOCABULARY), ChatFormatReader(VOCABULARY)
    prompt = ids(f"{earlier}<|turn>model\n")
    for index in prompt:
        whole.read(index)
    tail.read_tail(prompt)
    for index in ids(later):
        kit, theirs = whole.read(index), tail.read(index)
        assert (kit.block, kit.outer, kit.is_control) == (theirs.block, theirs.outer, theirs.is_control)


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS)
def test_kinds_of_a_reply_and_roles_of_its_tokens_agree(prompt, reply):
    before, after = ids(f"<|turn>model\n{prompt}"), ids(reply)
    transcript = Transcript(VOCABULARY, before)
    tokens = [token for index in after for token in transcript.add(index, Record(0.0, 0.0))]
    tokens += transcript.end()
    roles, scaffold = read_roles(before + after, vocabulary=VOCABULARY, prompt_length=len(before))
    assert [token.id for token in tokens] == after
    for token, role, is_format in zip(tokens, roles[len(before) :], scaffold[len(before) :], strict=True):
        if token.kind == "tool":
            assert role == "tool_call"
        if token.kind == "thought" and not is_format:
            assert role in ("thought", "tool", "tool_response")  # a result inside a thought is of a tool
        if token.kind == "special":
            assert is_format
