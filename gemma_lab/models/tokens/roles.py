r"""The role of each token: speaker, thought or block of tools, read by `ChatFormatReader`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .chat_format import TOOL_BLOCKS, ChatFormatReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .chat_format import Header
    from .vocabulary import Vocabulary

ROLES = ("", "system", "user", "model", "thought", *TOOL_BLOCKS)
"""What a role can be; ``""`` is outside any turn. ``"tool"`` is the declaration of a tool, ``"tool_call"`` a
call of the model, ``"tool_response"`` its result."""

_SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "model": "model",
    "assistant": "model",
    "tool": "tool",
}


def read_roles(
    ids: Sequence[int], *, vocabulary: Vocabulary, prompt_length: int | None = None
) -> tuple[list[str], list[bool]]:
    """Return the role of each token, and which tokens are the chat format itself.

    Parameters
    ----------
    ids
        Prompt and answer together, so that a thought or a tool's block that the prompt left open is still
        open where the answer begins.
    vocabulary
        The vocabulary.
    prompt_length
        Where the answer begins. Generated tokens outside of any turn (a prompt without the chat format) are
        of role ``"model"``.

    Returns
    -------
    roles : list of str
        Of `ROLES`. Delimiters and names belong to what they open and close.
    scaffold : list of bool
        Control tokens, the name after ``<|turn>`` or ``<|channel>`` with its line end, and the line end after
        ``<turn|>``.
    """
    reader = RoleReader(vocabulary)
    start = len(ids) if prompt_length is None else prompt_length
    for index in ids:
        reader.read(index)
    roles, scaffold = reader.close()
    roles[start:] = [role or "model" for role in roles[start:]]
    return roles, scaffold


class RoleReader:
    """Reads roles token by token; a name after an opening token is known once its line has ended.

    Parameters
    ----------
    vocabulary
        The vocabulary.

    Attributes
    ----------
    roles
        The role of each token so far, of `ROLES`.
    scaffold
        Which tokens so far are the chat format itself.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.roles: list[str] = []
        self.scaffold: list[bool] = []
        self._vocabulary = vocabulary
        self._reader = ChatFormatReader(vocabulary)
        self._turn, self._turn_end = vocabulary.find("<|turn>"), vocabulary.find("<turn|>")
        self._speaker = ""

    def read(self, index: int) -> None:
        """Read the next token."""
        reading = self._reader.read(index)
        if reading.ended is not None and reading.header is None:  # cut off by a control token
            self._end(reading.ended)
        if index == self._turn:
            self._speaker = ""
        block = reading.block
        self.roles.append(block or self._speaker)
        header = reading.header
        if header is not None:
            self.scaffold.append(header.line.partition(b"\n")[2] == b"" and header.is_name)
            if reading.ended is not None:
                self._end(header)
        else:
            is_line_end = reading.after_turn and not self._vocabulary.bytes(index).strip(b"\n")
            self.scaffold.append(reading.is_control or is_line_end)
        if index == self._turn_end:
            self._speaker = ""

    def close(self) -> tuple[list[str], list[bool]]:
        """Return roles and scaffold of all tokens: a name that is still open ends here."""
        if (header := self._reader.end()) is not None:
            self._end(header)
        return self.roles, self.scaffold

    def _end(self, header: Header) -> None:
        """Give the tokens of a header their role, or make them content if they are no name."""
        if not header.is_name:
            self.scaffold[header.start + 1 :] = [False] * (len(self.scaffold) - header.start - 1)
        elif header.opener == "turn":
            self._speaker = _SPEAKERS.get(header.name, "")
            self.roles[header.start :] = [self._speaker] * (len(self.roles) - header.start)
