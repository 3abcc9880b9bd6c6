"""What each id of a sequence is: looked up once an id, however long the sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary

SOFT = ("image", "video", "audio")
"""The modalities whose tokens stand for a piece of a medium."""

MODALITIES = ("text", *SOFT, "special")
"""What a token can be of. ``"special"``: control tokens and the words of the chat format itself."""


@dataclass(frozen=True)
class Lookup:
    """Columns of one entry a token.

    Attributes
    ----------
    data : list of bytes or None
        What the token adds to the text, in UTF-8; None for control and soft tokens.
    modalities : list of str
        ``"text"``, one of `SOFT`, or ``"special"`` for control tokens.
    written : list of str
        The vocabulary's own writing, ``"▁house"``; ``"<id 511>"`` for an id that it does not have.
    """

    data: list[bytes | None]
    modalities: list[str]
    written: list[str]


def look_up(ids: Sequence[int], *, tokenizer: Any, pieces: Vocabulary) -> Lookup:
    """Return what each id is.

    Parameters
    ----------
    ids
        ``(tokens,)``.
    tokenizer
        A tokenizer of transformers in Gemma's manner.
    pieces
        Its vocabulary.
    """
    soft = {pieces.find(f"<|{kind}|>"): kind for kind in SOFT}
    known: dict[int, tuple[bytes | None, str, str]] = {}
    for index in set(ids):
        kind = soft.get(index) or ("special" if pieces.is_special(index) else "text")
        data = pieces.bytes(index) if kind == "text" else None
        known[index] = (data, kind, _written(index, tokenizer, pieces))
    rows = [known[index] for index in ids]
    return Lookup([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _written(index: int, tokenizer: Any, pieces: Vocabulary) -> str:
    piece = tokenizer.convert_ids_to_tokens(index)
    if piece is None:  # a padding row of the embedding
        return pieces.name(index)
    # as in Pieces: neither U+FFFD nor half a surrogate pair is to reach a screen or a file
    return str(piece).replace("\ufffd", "\\ufffd").encode(errors="backslashreplace").decode()
