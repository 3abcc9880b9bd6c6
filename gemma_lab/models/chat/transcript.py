"""From token ids to what a reader sees: whole characters, and thoughts and tool calls told from the answer.

A token is *settled* once its text can no longer change. That is one token late: an accent, a joiner or the
second half of a flag may still come and belong to the last character.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import regex

from .reply import Token

if TYPE_CHECKING:
    from ...trace.tokens.vocabulary import Vocabulary
    from .reply import Alternative, Kind

_CLUSTER = regex.compile(r"\X")
_HEADER = "thought\n"


@dataclass(frozen=True)
class Record:
    """What the model's distribution was where a token was chosen."""

    logprob: float
    entropy: float
    top_logprobs: tuple[Alternative, ...] = ()


class _Run:
    """Neighbouring tokens of one kind whose bytes join to one text."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.text = ""  # not settled yet; begins at a cluster boundary
        self.waiting: list[tuple[int, Kind, Record, int]] = []  # id, kind, record, end of its text
        # Bytes that are no UTF-8 are shown as \xNN, never as U+FFFD.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def add(self, index: int, kind: Kind, record: Record, data: bytes) -> None:
        self.text += self._decoder.decode(data)
        self.waiting.append((index, kind, record, len(self.text)))

    def settle(self, *, final: bool = False) -> list[Token]:
        """Take out the tokens whose text is certain: a cluster belongs to the token it ends in."""
        if final:
            self._flush()
        ends = [0, *(match.end() for match in _CLUSTER.finditer(self.text))]
        certain = (ends if final else ends[:-1]) or [0]  # the last cluster may grow
        ready = len(self.waiting) if final else self._decided()
        tokens, start = [], 0
        for index, kind, record, end in self.waiting[:ready]:
            if end > certain[-1]:
                break
            stop = max(edge for edge in certain if edge <= end)
            text = self.text[start:stop]
            tokens.append(Token(index, text, record.logprob, record.entropy, record.top_logprobs, kind))
            start = stop
        self.waiting = [
            (i, kind, record, end - start) for i, kind, record, end in self.waiting[len(tokens) :]
        ]
        self.text = self.text[start:]
        return tokens

    def _decided(self) -> int:
        """How many waiting tokens are not the owner of bytes that are no character yet."""
        if not self._decoder.getstate()[0]:
            return len(self.waiting)
        return self._owner()

    def _owner(self) -> int:
        return max(place for place, entry in enumerate(self.waiting) if entry[1] == self.kind)

    def _flush(self) -> None:
        if not (rest := self._decoder.decode(b"", True)):
            return
        owner = self._owner()
        self.text += rest
        for place in range(owner, len(self.waiting)):
            self.waiting[place] = (*self.waiting[place][:3], len(self.text))


class Transcript:
    r"""The state machine that reads a reply token by token.

    Parameters
    ----------
    pieces
        The vocabulary.
    prompt
        Ids of the prompt. Its tail says where the model starts: some chat templates leave a thought open.

    Notes
    -----
    ``<|channel>thought\n … <channel|>`` is a thought. A channel of another name is folded as a thought too,
    its name kept in the text. ``<|tool_call> … <tool_call|>`` is of kind ``"tool"``, with its delimiters, so
    that the span can be parsed. Bytes that never become a character are shown as ``\xNN``.
    """

    def __init__(self, pieces: Vocabulary, prompt: Sequence[int] = ()) -> None:
        self._pieces = pieces
        self._channel, self._channel_end = pieces.find("<|channel>"), pieces.find("<channel|>")
        self._call, self._call_end = pieces.find("<|tool_call>"), pieces.find("<tool_call|>")
        self._header: bytes | None = None  # what follows <|channel> up to the end of its line
        self._kind: Kind = "text"
        self._outer: Kind = "text"  # what a tool call interrupted
        self._run = _Run("text")
        self._seed(prompt)

    @property
    def kind(self) -> Kind:
        """What the next token will be part of, as far as is known."""
        return "thought" if self._header is not None else self._kind

    def add(self, index: int, record: Record) -> list[Token]:
        """Read one token; return those that became certain, in order."""
        if index == self._channel and self._kind != "tool":
            settled = self._turn("thought")
            self._header = b""
            return settled + self._plain(index, "special", record, b"")
        if index == self._channel_end and self._kind != "tool":
            self._header = None
            settled = self._turn("text")
            return settled + self._plain(index, "special", record, b"")
        if index == self._call and self._kind != "tool":
            self._header, self._outer = None, self._kind
            return self._turn("tool") + self._plain(index, "tool", record, self._pieces.name(index).encode())
        if index == self._call_end and self._kind == "tool":
            settled = self._plain(index, "tool", record, self._pieces.name(index).encode())
            return settled + self._turn(self._outer)
        if self._header is not None:
            return self._heading(index, record)
        if not self._pieces.is_special(index):
            return self._plain(index, self._kind, record, self._pieces.bytes(index))
        if self._kind == "tool":  # <|"|> delimits strings there
            return self._plain(index, "tool", record, self._pieces.name(index).encode())
        return self._plain(index, "special", record, b"")

    def end(self) -> list[Token]:
        """Return the tokens that were still waiting: nothing more will come."""
        return self._run.settle(final=True)

    def _seed(self, prompt: Sequence[int]) -> None:
        for place in range(len(prompt) - 1, -1, -1):
            if prompt[place] == self._channel_end:
                return
            if prompt[place] == self._channel:
                nothing = Record(0.0, 0.0)
                for index in prompt[place:]:
                    self.add(index, nothing)
                self._run = _Run(self._kind)  # what the prompt said of the thought is not the reply's
                return

    def _turn(self, kind: Kind) -> list[Token]:
        settled = self._run.settle(final=True)
        self._kind, self._run = kind, _Run(kind)
        return settled

    def _plain(self, index: int, kind: Kind, record: Record, data: bytes) -> list[Token]:
        self._run.add(index, kind, record, data)
        return self._run.settle()

    def _heading(self, index: int, record: Record) -> list[Token]:
        special = self._pieces.is_special(index)
        self._header = (self._header or b"") + (b"" if special else self._pieces.bytes(index))
        expected = _HEADER.encode()
        if self._header == expected:
            self._header = None
            return self._plain(index, "special", record, b"")
        if expected.startswith(self._header):
            return self._plain(index, "special", record, b"")
        # the rest of a token that went past the line's end, or a channel that is no thought: keep it in sight
        text, self._header = self._header.removeprefix(expected), None
        return self._plain(index, "thought", record, text)
