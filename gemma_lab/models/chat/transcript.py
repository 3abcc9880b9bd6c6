"""Decode the token ids of a reply: complete characters, thoughts, tool calls and the answer.

The chat format is read by `gemma_lab.models.tokens.chat_format`, characters by
`gemma_lab.models.tokens.graphemes`; here their results become `Token` values, each as soon as it is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..tokens.chat_format import TOOL_BLOCKS, ChatFormatReader
from ..tokens.graphemes import GraphemeStream
from .reply import Token

if TYPE_CHECKING:
    from ..tokens.chat_format import Header
    from ..tokens.vocabulary import Vocabulary
    from .reply import Alternative, Kind, Overruled

_HEADER = b"thought\n"


@dataclass(frozen=True)
class Record:
    """The model's distribution from which a token was chosen, and whether a drafter proposed it."""

    logprob: float
    entropy: float
    top_logprobs: tuple[Alternative, ...] = ()
    overruled: Overruled | None = None
    drafted: bool | None = None


class Transcript:
    r"""Reads a reply token by token.

    Parameters
    ----------
    vocabulary
        The vocabulary.
    prompt
        Ids of the prompt. Its end is where the model starts: some chat templates leave a thought open.

    Notes
    -----
    ``<|channel>thought\n … <channel|>`` is a thought. A channel of another name is shown as a thought, its
    name in the text. ``<|tool_call> … <tool_call|>`` is of kind ``"tool"``, with its delimiters, so that the
    span can be parsed. Bytes that never become a character are shown as ``\xNN``.
    """

    def __init__(self, vocabulary: Vocabulary, prompt: Sequence[int] = ()) -> None:
        self._vocabulary = vocabulary
        self._reader = ChatFormatReader(vocabulary)
        self._reader.read_tail(prompt)
        self._kind: Kind = self.kind
        self._graphemes = GraphemeStream()
        self._waiting: list[tuple[int, Record]] = []  # tokens of kind `_kind` whose text is not certain yet

    @property
    def kind(self) -> Kind:
        """The kind of the next token, unless it is a control token."""
        return _kind(self._reader.block, self._reader.outer)

    def add(self, index: int, record: Record) -> list[Token]:
        """Read one token; return those whose text became certain, in order."""
        reading = self._reader.read(index)
        kind = _kind(reading.block, reading.outer)
        if kind == "tool" and reading.is_control:  # its delimiters, and <|"|> around strings
            return self._text(index, kind, record, self._vocabulary.name(index).encode())
        data = None if reading.is_control else self._vocabulary.bytes(index)
        if data is not None and reading.header is not None and reading.header.opener == "channel":
            data = _visible(reading.header, data)
        if data is None:
            return [*self.end(), self._token(index, record, "", "special")]
        return self._text(index, kind, record, data)

    def end(self) -> list[Token]:
        """Return the pending tokens after the last one was added."""
        return self._certain(self._graphemes.end())

    def _text(self, index: int, kind: Kind, record: Record, data: bytes) -> list[Token]:
        before = self.end() if kind != self._kind else []  # a character never spans two kinds
        self._kind = kind
        self._waiting.append((index, record))
        return before + self._certain(self._graphemes.add(data))

    def _certain(self, texts: list[str]) -> list[Token]:
        tokens = [
            self._token(index, record, text, self._kind)
            for (index, record), text in zip(self._waiting, texts, strict=False)
        ]
        self._waiting = self._waiting[len(texts) :]
        return tokens

    def _token(self, index: int, record: Record, text: str, kind: Kind) -> Token:
        return Token(
            index,
            text,
            record.logprob,
            record.entropy,
            record.top_logprobs,
            kind,
            record.overruled,
            record.drafted,
        )


def split_reply(vocabulary: Vocabulary, prompt: Sequence[int], ids: Sequence[int]) -> tuple[str, str]:
    """Return the visible text of a reply and that of its tool calls, thoughts left out.

    Parameters
    ----------
    vocabulary
        The vocabulary.
    prompt, ids
        Ids of the prompt and of the reply.
    """
    transcript, unscored = Transcript(vocabulary, prompt), Record(0.0, 0.0)
    tokens = [token for index in ids for token in transcript.add(index, unscored)] + transcript.end()
    text, tool = ("".join(token.text for token in tokens if token.kind == kind) for kind in ("text", "tool"))
    return text, tool


def _kind(block: str, outer: str) -> Kind:
    if block == "tool_call":
        return "tool"
    return "thought" if (outer if block in TOOL_BLOCKS else block) == "thought" else "text"


def _visible(header: Header, data: bytes) -> bytes | None:
    r"""Return what a token after ``<|channel>`` shows: None for ``thought\n``, all of another name."""
    if _HEADER.startswith(header.line):
        return None
    if header.line.startswith(_HEADER):
        return header.line[len(_HEADER) :]
    was_expected = _HEADER.startswith(header.line[: len(header.line) - len(data)])
    return header.line if was_expected else data
