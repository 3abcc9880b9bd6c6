r"""Read Gemma 4's chat format token by token: which block each token is in, in prompts and in replies.

``<|turn>user\n … <turn|>\n`` is a turn. Inside it ``<|channel>thought\n … <channel|>`` is a thought, and
``<|tool> … <tool|>``, ``<|tool_call> … <tool_call|>`` and ``<|tool_response> … <tool_response|>`` are blocks
of tools. (Reference: Gemma 4's chat template.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary

TOOL_BLOCKS = ("tool", "tool_call", "tool_response")
#: Longest name after <|turn> or <|channel> that is taken for one, in bytes; a longer line is content.
_MAX_NAME = 32


@dataclass
class Header:
    r"""The name after ``<|turn>`` or ``<|channel>``, up to the end of its line.

    Attributes
    ----------
    opener
        ``"turn"`` or ``"channel"``.
    start
        Index of the opening token, counted from the reader's first token.
    line
        The bytes of the line so far, with what follows ``\n`` in the same token.
    """

    opener: str
    start: int
    line: bytes = b""

    @property
    def name(self) -> str:
        """The name, without its line end."""
        return self.line.partition(b"\n")[0].decode("utf-8", "replace").strip()

    @property
    def is_name(self) -> bool:
        """Whether the line is short enough for a name."""
        return len(self.line.partition(b"\n")[0]) <= _MAX_NAME


class Reading(NamedTuple):
    """What one token is.

    Attributes
    ----------
    block
        The innermost block that it belongs to: ``"thought"``, one of `TOOL_BLOCKS`, or ``""``. Delimiters
        belong to the block that they open or close.
    outer
        The block around a block of tools: ``"thought"`` or ``""``.
    is_control
        Whether it is a control token.
    header
        The header that it continues or ends, if any.
    ended
        The header that ended with this token, or right before it.
    after_turn
        Whether ``<turn|>`` came right before it: a line end is then part of the format.
    """

    block: str
    outer: str
    is_control: bool
    header: Header | None
    ended: Header | None
    after_turn: bool


class ChatFormatReader:
    """Reads the chat format token by token, from the beginning of a prompt or from anywhere in it.

    Parameters
    ----------
    vocabulary
        The vocabulary; a delimiter that it does not have is never read.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._openers: dict[int, str] = {}
        self._closers: dict[int, str] = {}
        for name in ("turn", "channel", *TOOL_BLOCKS):
            for table, delimiter in ((self._openers, f"<|{name}>"), (self._closers, f"<{name}|>")):
                if (index := vocabulary.find(delimiter)) is not None:
                    table[index] = name
        self._block = self._outer = ""
        self._header: Header | None = None
        self._count = 0
        self._after_turn = False

    @property
    def block(self) -> str:
        """The block that the next token is in."""
        return self._block

    @property
    def outer(self) -> str:
        """The block around it, if it is of tools."""
        return self._outer

    def read_tail(self, ids: Sequence[int]) -> None:
        """Read the end of a prompt, from the last turn on; unfinished blocks stay open."""
        turn = next((index for index, name in self._openers.items() if name == "turn"), None)
        start = next((at for at in range(len(ids) - 1, -1, -1) if ids[at] == turn), None)
        if start is None:  # text without turns: from its first delimiter
            start = next((at for at, index in enumerate(ids) if index in self._openers), len(ids))
        for index in ids[start:]:
            self.read(index)

    def read(self, index: int) -> Reading:
        """Read the next token."""
        opens, closes = self._openers.get(index), self._closers.get(index)
        if opens is not None or closes is not None:
            reading = self._open(opens) if opens is not None else self._close(closes)
        elif self._vocabulary.is_special(index):
            reading = Reading(self._block, self._outer, True, None, self._end(), False)
            self._after_turn = False
        else:
            reading = self._text(index)
        self._count += 1
        return reading

    def end(self) -> Header | None:
        """Return the header that is still open: nothing more will come."""
        return self._end()

    def _end(self) -> Header | None:
        header, self._header = self._header, None
        return header

    def _open(self, name: str) -> Reading:
        ended, self._after_turn = self._end(), False
        if name == "turn":
            self._block = self._outer = ""
            self._header = Header(name, self._count)
        elif name == "channel" and self._block not in TOOL_BLOCKS:
            self._block = "thought"
            self._header = Header(name, self._count)
        elif name in TOOL_BLOCKS:
            if self._block not in TOOL_BLOCKS:
                self._outer = self._block
            self._block = name
        return Reading(self._block, self._outer, True, None, ended, False)

    def _close(self, name: str | None) -> Reading:
        ended = self._end()
        if name == "turn":
            self._block = self._outer = ""
        reading = Reading(self._block, self._outer, True, None, ended, False)
        self._after_turn = name == "turn"
        if name == "channel" and self._block == "thought":
            self._block = ""
        elif name in TOOL_BLOCKS and self._block in TOOL_BLOCKS:
            self._block, self._outer = self._outer, ""
        return reading

    def _text(self, index: int) -> Reading:
        header, after_turn, self._after_turn = self._header, self._after_turn, False
        if header is None:
            return Reading(self._block, self._outer, False, None, None, after_turn)
        header.line += self._vocabulary.bytes(index)
        ended = self._end() if b"\n" in header.line or not header.is_name else None
        return Reading(self._block, self._outer, False, header, ended, False)
