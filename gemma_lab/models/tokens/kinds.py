"""Bytes, modality and vocabulary entry of every token of a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary

MEDIA_KINDS = ("image", "video", "audio")
"""Modalities whose tokens are soft tokens: embeddings of a part of an image, video or audio clip."""

MODALITIES = ("text", *MEDIA_KINDS, "special")
"""All modalities. ``"special"``: control tokens and the text of the chat format itself."""


@dataclass(frozen=True)
class TokenKinds:
    """Columns with one entry per token.

    Attributes
    ----------
    data : list of bytes or None
        The text of the token in UTF-8; None for control and soft tokens.
    modalities : list of str
        ``"text"``, one of `MEDIA_KINDS`, or ``"special"`` for control tokens.
    written : list of str
        The entry of the vocabulary, ``"▁house"``; ``"<id 511>"`` for an id that it does not have.
    """

    data: list[bytes | None]
    modalities: list[str]
    written: list[str]


def token_kinds(ids: Sequence[int], *, tokenizer: Any, vocabulary: Vocabulary) -> TokenKinds:
    """Return the kinds of a sequence of ids; each distinct id is looked up once.

    Parameters
    ----------
    ids
        ``(tokens,)``.
    tokenizer
        A tokenizer of a Gemma model.
    vocabulary
        Its vocabulary.
    """
    soft = {vocabulary.find(f"<|{kind}|>"): kind for kind in MEDIA_KINDS}
    known: dict[int, tuple[bytes | None, str, str]] = {}
    for index in set(ids):
        kind = soft.get(index) or ("special" if vocabulary.is_special(index) else "text")
        data = vocabulary.bytes(index) if kind == "text" else None
        known[index] = (data, kind, _written(index, tokenizer, vocabulary))
    rows = [known[index] for index in ids]
    return TokenKinds([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _written(index: int, tokenizer: Any, vocabulary: Vocabulary) -> str:
    piece = tokenizer.convert_ids_to_tokens(index)
    if piece is None:  # a padding row of the embedding
        return vocabulary.name(index)
    # as in Vocabulary: neither U+FFFD nor half a surrogate pair is to reach a screen or a file
    return str(piece).replace("\ufffd", "\\ufffd").encode(errors="backslashreplace").decode()
