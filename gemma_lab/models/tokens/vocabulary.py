"""The vocabulary of a Gemma tokenizer: bytes, control tokens and names by id."""

from __future__ import annotations

import re
from typing import Any

from ...checks import has_surrogate, short_repr
from ...errors import BadPrompt

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Vocabulary:
    """The vocabulary of one tokenizer; entries are looked up once and cached.

    An entry (a *piece*) is either text, in which ``▁`` is a space, or one raw byte ``<0xNN>``, the fallback
    for characters that the vocabulary does not have.

    Parameters
    ----------
    tokenizer
        A tokenizer of a Gemma model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._bytes: dict[int, bytes] = {}
        self._names: dict[int, str] = {}
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special = frozenset(tokenizer.all_special_ids) | {
            index for index, token in added.items() if token.special
        }

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text; names of control tokens in it are taken for them.

        Raises
        ------
        BadPrompt
            If it has half a surrogate pair, which no tokenizer can encode.
        """
        if has_surrogate(text):
            raise BadPrompt(
                f"{short_repr(text)} holds half a surrogate pair.",
                hint='Repair it with text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").',
            )
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def is_special(self, index: int) -> bool:
        """Return whether it is a control token, which adds nothing to the text."""
        return index in self._special or self._piece(index) is None

    def find(self, name: str) -> int | None:
        """Return the id of a control token such as ``<|channel>``, or None if this vocabulary has none."""
        index = self._tokenizer.convert_tokens_to_ids(name)
        return index if index is not None and self._piece(index) == name else None

    def bytes(self, index: int) -> bytes:
        """Return the text of the token in UTF-8; a byte token may be a part of a character."""
        known = self._bytes.get(index)
        if known is None:
            piece = self._piece(index)
            byte = _BYTE.fullmatch(piece or "")
            known = bytes([int(byte[1], 16)]) if byte else self._text(piece or "").encode()
            self._bytes[index] = known
        return known

    def name(self, index: int) -> str:
        """Return how to show the token by itself: its text, a byte as ``<0xNN>``, a control token by name."""
        known = self._names.get(index)
        if known is None:
            piece = self._piece(index)
            known = (
                f"<id {index}>" if piece is None else piece if index in self._special else self._text(piece)
            )
            self._names[index] = known
        return known

    def _text(self, piece: str) -> str:
        # A vocabulary may hold U+FFFD itself or half a surrogate pair, which must not be displayed.
        return piece.replace("▁", " ").replace("\ufffd", "\\ufffd").encode(errors="backslashreplace").decode()

    def _piece(self, index: int) -> str | None:
        # The embedding table can be longer than the vocabulary: padding rows have no piece.
        piece: str | None = self._tokenizer.convert_ids_to_tokens(int(index))
        return piece
