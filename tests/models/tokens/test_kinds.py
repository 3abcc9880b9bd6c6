"""What each id is."""

from __future__ import annotations

from support import shapes

from gemma_lab.models.tokens.kinds import token_kinds
from gemma_lab.models.tokens.vocabulary import Vocabulary


def test_text_bytes_control_and_soft_tokens_and_ids_without_a_piece():
    tokenizer = shapes.tiny_tokenizer()
    pieces = Vocabulary(tokenizer)
    names = ["▁", "a", "<0xE2>", "<turn|>", "<|image|>", "<|video|>", "<|audio|>", "<|image>"]
    found = token_kinds([*map(pieces.find, names), 511], tokenizer=tokenizer, vocabulary=pieces)
    assert found.data == [b" ", b"a", b"\xe2", None, None, None, None, None, None]
    assert found.written == [*names, "<id 511>"]
    assert found.modalities == [
        "text", "text", "text", "special", "image", "video", "audio", "special", "special",
    ]  # fmt: skip


class Strange:
    """A vocabulary with what must not be shown."""

    all_special_ids: tuple[int, ...] = ()

    def convert_ids_to_tokens(self, index):
        return {0: "a\ufffd", 1: "\ud83d"}.get(index)

    def convert_tokens_to_ids(self, name):
        return None


def test_pieces_that_must_not_be_shown_are_written_out():
    tokenizer = Strange()
    found = token_kinds([0, 1, 0], tokenizer=tokenizer, vocabulary=Vocabulary(tokenizer))
    assert found.written == ["a\\ufffd", "\\ud83d", "a\\ufffd"]
    assert found.data == [b"a\\ufffd", b"\\ud83d", b"a\\ufffd"]
