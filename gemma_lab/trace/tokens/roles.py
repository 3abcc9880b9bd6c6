r"""Who speaks at each token: read from the control tokens of the chat format.

``<|turn>user\n … <turn|>\n`` is a turn. Inside it ``<|channel>thought\n … <channel|>`` is a thought, and
``<|tool> … <tool|>``, ``<|tool_call> … <tool_call|>`` and ``<|tool_response> … <tool_response|>`` are of
tools. (Reference: Gemma 4's chat template; `gemma_lab.models.chat.transcript` reads replies by the same rules.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .vocabulary import Vocabulary

ROLES = ("", "system", "user", "model", "thought", "tool")
"""What a role can be; ``""`` is outside any turn."""

_SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "model": "model",
    "assistant": "model",
    "tool": "tool",
}
_TOOLS = ("tool", "tool_call", "tool_response")
#: Longest name after <|turn> or <|channel> that is taken for one, in bytes; what goes on is content.
_LONGEST_NAME = 32


@dataclass
class _Header:
    """The name that follows an opening token, up to the end of its line."""

    kind: str  # "turn" or "channel"
    start: int
    said: bytes = b""


@dataclass
class _State:
    speaker: str = ""
    inside: str = ""  # "thought", "tool" or ""
    around: str = ""  # what a tool's block interrupted
    header: _Header | None = None
    closed: bool = False  # a turn was closed just now: its line end follows
    roles: list[str] = field(default_factory=list)
    scaffold: list[bool] = field(default_factory=list)

    @property
    def role(self) -> str:
        return self.inside or self.speaker


def read_roles(
    ids: Sequence[int], *, pieces: Vocabulary, prompt_length: int | None = None
) -> tuple[list[str], list[bool]]:
    """Return the role of each token, and which tokens are the chat format itself.

    Parameters
    ----------
    ids
        Prompt and answer together, so that a thought or a tool's block that the prompt left open is still
        open where the answer begins.
    pieces
        The vocabulary.
    prompt_length
        Where the answer begins. What the model wrote outside any turn (a prompt without the chat format) is
        of role ``"model"``.

    Returns
    -------
    roles : list of str
        Of `ROLES`. Delimiters and names belong to what they open and close.
    scaffold : list of bool
        Control tokens, the name after ``<|turn>`` or ``<|channel>`` with its line end, and the line end after
        ``<turn|>``.
    """
    reader = RoleReader(pieces)
    written = len(ids) if prompt_length is None else prompt_length
    for index in ids:
        reader.read(index)
    roles, scaffold = reader.close()
    roles[written:] = [role or "model" for role in roles[written:]]
    return roles, scaffold


class RoleReader:
    """Reads roles token by token; a name after an opening token is known once its line has ended.

    Parameters
    ----------
    pieces
        The vocabulary.
    """

    def __init__(self, pieces: Vocabulary) -> None:
        self._pieces = pieces
        self._openers, self._closers = _delimiters(pieces)
        self._state = _State()

    @property
    def roles(self) -> list[str]:
        """The role of each token so far, of `ROLES`."""
        return self._state.roles

    @property
    def scaffold(self) -> list[bool]:
        """Which tokens so far are the chat format itself."""
        return self._state.scaffold

    def read(self, index: int) -> None:
        """Take the next token."""
        if index in self._openers or index in self._closers:
            _control(self._state, self._openers.get(index), self._closers.get(index))
        elif self._pieces.is_special(index):
            _end_header(self._state)
            _put(self._state, scaffold=True)
        else:
            _say(self._state, index, self._pieces)

    def close(self) -> tuple[list[str], list[bool]]:
        """Return roles and scaffold of all tokens: a name that is still open ends here."""
        _end_header(self._state)
        return self.roles, self.scaffold


def _delimiters(pieces: Vocabulary) -> tuple[dict[int, str], dict[int, str]]:
    openers: dict[int, str] = {}
    closers: dict[int, str] = {}
    for name in ("turn", "channel", *_TOOLS):
        opener, closer = pieces.find(f"<|{name}>"), pieces.find(f"<{name}|>")
        if opener is not None:
            openers[opener] = name
        if closer is not None:
            closers[closer] = name
    return openers, closers


def _put(state: _State, *, scaffold: bool) -> None:
    state.roles.append(state.role)
    state.scaffold.append(scaffold)
    state.closed = False


def _control(state: _State, opens: str | None, closes: str | None) -> None:
    _end_header(state)
    if opens == "turn":
        state.speaker = state.inside = state.around = ""
        state.header = _Header("turn", len(state.roles))
    elif opens == "channel" and state.inside != "tool":
        state.inside = "thought"
        state.header = _Header("channel", len(state.roles))
    elif opens in _TOOLS:
        if state.inside != "tool":
            state.around = state.inside
        state.inside = "tool"
    elif closes == "turn":
        state.inside = state.around = ""
    _put(state, scaffold=True)
    if closes == "turn":
        state.speaker, state.closed = "", True
    elif closes == "channel" and state.inside == "thought":
        state.inside = ""
    elif closes in _TOOLS and state.inside == "tool":
        state.inside, state.around = state.around, ""


def _say(state: _State, index: int, pieces: Vocabulary) -> None:
    if state.header is None:
        _put(state, scaffold=state.closed and not pieces.bytes(index).strip(b"\n"))
        return
    header = state.header
    header.said += pieces.bytes(index)
    name, end, rest = header.said.partition(b"\n")
    if len(name) > _LONGEST_NAME:  # no name at all: all of it is content
        _put(state, scaffold=False)
        state.scaffold[header.start + 1 :] = [False] * (len(state.scaffold) - header.start - 1)
        state.header = None
        return
    _put(state, scaffold=not rest)
    if end:
        _end_header(state)


def _end_header(state: _State) -> None:
    """Close the name that is being read, if any: its tokens take the role that it names."""
    header, state.header = state.header, None
    if header is None or header.kind == "channel":
        return
    name = header.said.partition(b"\n")[0].decode("utf-8", "replace").strip()
    state.speaker = _SPEAKERS.get(name, "")
    state.roles[header.start :] = [state.speaker] * (len(state.roles) - header.start)
