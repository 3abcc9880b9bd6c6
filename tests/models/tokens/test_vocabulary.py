"""What ids stand for."""

from __future__ import annotations

import pytest
from support import shapes

from gemma_lab.errors import BadPrompt
from gemma_lab.models.tokens.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def pieces():
    return Vocabulary(shapes.tiny_tokenizer())


def test_text_bytes_and_control_tokens(pieces):
    assert pieces.bytes(pieces.find("▁")) == b" "
    assert pieces.bytes(pieces.find("<0xE2>")) == b"\xe2"
    assert pieces.name(pieces.find("<0xE2>")) == "<0xE2>"
    assert pieces.name(pieces.find("<turn|>")) == "<turn|>"
    assert pieces.is_special(pieces.find("<turn|>"))
    assert not pieces.is_special(pieces.find("a"))


def test_a_name_the_vocabulary_lacks_is_not_found(pieces):
    assert pieces.find("<|nothing>") is None


def test_tokens_of_a_text(pieces):
    assert pieces.ids("a<turn|>") == (pieces.find("a"), pieces.find("<turn|>"))
    assert pieces.ids("") == ()
    with pytest.raises(BadPrompt, match="surrogate"):
        pieces.ids("a\ud800")


def test_padding_rows_of_the_embedding_add_nothing(pieces):
    assert pieces.is_special(511)
    assert pieces.bytes(511) == b""
    assert pieces.name(511) == "<id 511>"
