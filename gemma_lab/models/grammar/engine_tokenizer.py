"""llguidance's tokenizer of a vocabulary: built once per tokenizer, from the bytes of its entries.

``llguidance.hf.from_tokenizer`` reads a tokenizer's JSON instead. On Gemma's 262,144 entries that takes twice
the time and three times the memory, and it takes every added entry for a control token: the HTML tags in
Gemma's vocabulary (``<b>``, ``<table>``) could then not be written inside a string
(`tests/benchmarks/test_grammar_engines.py` measures both).
"""

from __future__ import annotations

import re
import threading
import weakref
from typing import Any

from ..tokens.vocabulary import Vocabulary

#: Reserved entries of Gemma's vocabulary, which are not marked as control tokens but are no text either.
_RESERVED = re.compile(r"<unused\d+>")
#: llguidance marks control tokens with this byte, which is in no UTF-8 text.
_MARKER = b"\xff"
_lock = threading.Lock()
_built: weakref.WeakKeyDictionary[Any, dict[tuple[int, tuple[int, ...]], Any]] = weakref.WeakKeyDictionary()


def engine_tokenizer(tokenizer: Any, size: int, ends: tuple[int, ...]) -> Any:
    """Return the ``llguidance.LLTokenizer`` of a tokenizer; it is built once and kept as long as that exists.

    Parameters
    ----------
    tokenizer
        A fast tokenizer of transformers.
    size
        Rows of the model's output, tokens; rows without an entry are never allowed.
    ends
        Ids that end an answer.
    """
    from llguidance import LLTokenizer, TokenizerWrapper

    with _lock:
        known = _built.setdefault(tokenizer, {})
        if (size, ends) not in known:
            table = _TokenTable(tokenizer, max(size, len(tokenizer)), ends)
            known[size, ends] = LLTokenizer(
                TokenizerWrapper(table), n_vocab=len(table.tokens), eos_token=list(ends)
            )
        return known[size, ends]


class _TokenTable:
    """What ``llguidance.TokenizerWrapper`` asks of a tokenizer: bytes of every token, and control tokens."""

    def __init__(self, tokenizer: Any, size: int, ends: tuple[int, ...]) -> None:
        vocabulary, entries = Vocabulary(tokenizer), len(tokenizer)
        self.tokens: list[bytes] = []
        self.special_token_ids: list[int] = []
        for index in range(size):
            special = vocabulary.is_special(index) or _RESERVED.fullmatch(vocabulary.name(index)) is not None
            if special and index < entries:
                self.special_token_ids.append(index)
            text = vocabulary.name(index).encode() if special else vocabulary.bytes(index)
            self.tokens.append(b"" if text == _MARKER or index >= entries else text)
        self.eos_token_id = ends[0]
        self.bos_token_id = tokenizer.bos_token_id
        self._tokenizer = weakref.proxy(tokenizer)  # the table is kept as long as the tokenizer, not longer

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text."""
        if not isinstance(text, str):  # how llguidance asks whether bytes are accepted
            raise TypeError("text only")
        return list(self._tokenizer.encode(text, add_special_tokens=False))
