"""Read and write one call in Gemma 4's syntax, ``call:NAME{key:value,…}``; reading is strict.

Strings are enclosed in ``<|"|>``, keys are bare, and numbers, ``true``, ``false``, ``null``, lists and
objects are as in JSON (reference: ``format_argument`` in Gemma 4's chat template). The syntax has no escape
for keys: declared names are tried first, then a key ends at the first ``:`` that a value follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

QUOTE = '<|"|>'
#: Deepest nesting of lists and objects that is read.
MAX_DEPTH = 16
_HEAD = re.compile(r"call:([A-Za-z_][\w.-]*)\{")
_KEY = re.compile(r"[^\s:,{}\[\]<>\"]+(?=\s*:)")
_END = r"(?=[,}\]\s]|\Z)"
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?" + _END, re.ASCII)
_WORD = re.compile(r"(?:true|false|null)" + _END)
_WORDS = {"true": True, "false": False, "null": None}
_VALUE_FOLLOWS = re.compile(rf"\s*:(?=\s*(?:[{{\[]|{re.escape(QUOTE)}|{_NUMBER.pattern}|{_WORD.pattern}))")
#: A bare key, not declared, that holds other characters: it ends at the first colon that a value follows.
_LONG_KEY = re.compile(rf"[^\s,{{}}<][^,{{}}\n]{{0,200}}?(?={_VALUE_FOLLOWS.pattern})")
_LONGEST_NUMBER = 400  # characters; Python refuses to read integers beyond some thousand digits
_SPACE = re.compile(r"\s*")


class BadCall(ValueError):
    """A call that is not in the syntax; the message says what is wrong and where."""


def read_call(text: str, keys: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of ``call:NAME{…}``.

    Parameters
    ----------
    text
        The call, without its delimiters.
    keys
        Declared names of arguments, at any depth. They are tried first, the longest one first, so that they
        may hold characters that otherwise end a key.

    Raises
    ------
    BadCall
        If it is anything else: nothing is guessed.
    """
    head = _HEAD.match(text := text.strip())
    if head is None:
        raise BadCall(f"it does not begin with call:NAME{{ but with {text[:20]!r}")
    reader = _Reader(text, head.end() - 1, sorted(keys, key=len, reverse=True))
    arguments = reader.value(0)
    if reader.position != len(text):
        raise BadCall(f"something follows its end: {text[reader.position : reader.position + 20]!r}")
    return head[1], arguments


def locate_values(text: str, keys: Iterable[str] = ()) -> tuple[str, list[tuple[str, Any, int, int]]]:
    """Return the name of a call and where each of its values is written.

    Parameters
    ----------
    text, keys
        As for `read_call`.

    Returns
    -------
    name : str
    values : list of tuple
        Path (``"city"``, ``"at.x"``, ``"tags[0]"``), value, start and end in the text, without the quotes
        of a string. Empty lists and objects count as values.

    Raises
    ------
    BadCall
        If `read_call` would raise it.
    """
    name, arguments = read_call(text, keys)
    before = len(text) - len(text.lstrip())
    reader = _LocatingReader(text.strip(), text.index("{") - before, sorted(keys, key=len, reverse=True))
    reader.value(0)
    leaves = _leaves(arguments, "")
    return name, [
        (path, value, start + before, end + before)
        for (path, value), (start, end) in zip(leaves, reader.spans, strict=True)
    ]


def write_call(name: str, arguments: dict[str, Any]) -> str:
    """Return a call as the chat template writes it: keys sorted, strings quoted, everything else as JSON."""
    return f"call:{name}{_written(arguments)}"


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: pair[0].lower())
        return "{" + ",".join(f"{key}:{_written(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _leaves(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return path and value of everything but lists and objects with content, in order."""
    if isinstance(value, dict) and value:
        inner = [(f"{path}.{key}" if path else key, item) for key, item in value.items()]
    elif isinstance(value, list) and value:
        inner = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return [(path, value)]
    return [leaf for where, item in inner for leaf in _leaves(item, where)]


class _Reader:
    """A position in a text, and methods that read what begins there."""

    def __init__(self, text: str, position: int, keys: list[str]) -> None:
        self.text, self.position, self._keys = text, position, keys

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise BadCall(f"it is nested more than {MAX_DEPTH} deep")
        self._skip()
        if self._takes("{"):
            return self._object(depth)
        if self._takes("["):
            return self._list(depth)
        if self._takes(QUOTE):
            return self._string()
        if number := _NUMBER.match(self.text, self.position):
            return self._number(number)
        if word := _WORD.match(self.text, self.position):
            self.position = word.end()
            return _WORDS[word[0]]
        raise self._error("no value")

    def _object(self, depth: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        while not self._ends("}", first=not fields):
            key = self._key()
            if key in fields:
                raise BadCall(f"the argument {key[:40]!r} occurs twice")
            self._skip()
            if not self._takes(":"):
                raise self._error("no : after a key")
            fields[key] = self.value(depth + 1)
        return fields

    def _list(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self._ends("]", first=not items):
            items.append(self.value(depth + 1))
        return items

    def _ends(self, closing: str, *, first: bool) -> bool:
        """Pass the end of a list or an object, or the comma before its next part."""
        before = self.position
        self._skip()
        if self._takes(closing):
            return True
        if first:
            self.position = before
        elif not self._takes(","):
            raise self._error(f"neither , nor {closing}")
        return False

    def _key(self) -> str:
        declared = self._declared_key()  # before white space is skipped: it may be part of the name
        if declared is None:
            self._skip()
            declared = self._declared_key()
        if declared is not None:
            self.position += len(declared)
            return declared
        if self._takes(QUOTE):
            return self._string()
        key = _KEY.match(self.text, self.position)
        if key is None or not _VALUE_FOLLOWS.match(self.text, key.end()):  # spaces, or a colon as in xml:lang
            key = _LONG_KEY.match(self.text, self.position) or key
        if key is None:
            raise self._error("no key")
        self.position = key.end()
        return key[0]

    def _declared_key(self) -> str | None:
        for name in self._keys:
            if self.text.startswith(name, self.position):
                after = _SPACE.match(self.text, self.position + len(name))
                if after is not None and self.text.startswith(":", after.end()):
                    return name
        return None

    def _string(self) -> str:
        end = self.text.find(QUOTE, self.position)
        if end < 0:
            raise BadCall("a string does not end")
        string, self.position = self.text[self.position : end], end + len(QUOTE)
        return string

    def _number(self, number: re.Match[str]) -> int | float:
        if len(number[0]) > _LONGEST_NUMBER:
            raise BadCall(f"a number is {len(number[0]):,} characters long")
        self.position = number.end()
        is_integer = number[1] is None and number[2] is None
        value = int(number[0]) if is_integer else float(number[0])
        if value in (float("inf"), float("-inf")):
            raise BadCall(f"{number[0]} is too large")
        return value

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.position)
        assert space is not None  # it also matches nothing
        self.position = space.end()

    def _takes(self, what: str) -> bool:
        if not self.text.startswith(what, self.position):
            return False
        self.position += len(what)
        return True

    def _error(self, what: str) -> BadCall:
        rest = self.text[self.position : self.position + 20]
        return BadCall(f"{what} at {rest!r}" if rest else f"{what} at its end")


class _LocatingReader(_Reader):
    """A reader that records the positions of scalars and of empty lists and objects."""

    def __init__(self, text: str, position: int, keys: list[str]) -> None:
        super().__init__(text, position, keys)
        self.spans: list[tuple[int, int]] = []

    def value(self, depth: int) -> Any:
        self._skip()
        start = self.position
        value = super().value(depth)
        if not (isinstance(value, dict | list) and value):
            quote = len(QUOTE) if isinstance(value, str) else 0
            self.spans.append((start + quote, self.position - quote))
        return value
