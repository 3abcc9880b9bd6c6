"""Reading one call in Gemma 4's syntax, strictly and only a few levels deep: a model may write anything."""

from __future__ import annotations

import re
from typing import Any

QUOTE = '<|"|>'
_DEEPEST = 16  # lists and objects within each other
_HEAD = re.compile(r"call:([A-Za-z_][\w.-]*)\{")
_KEY = re.compile(r"[^\s:,{}\[\]<>\"]+")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?(?=[,}\]\s]|\Z)", re.ASCII)
_WORDS = {"true": True, "false": False, "null": None}
_LONGEST_NUMBER = 400  # characters; Python refuses to read whole numbers beyond some thousand digits
_SPACE = re.compile(r"\s*")


class BadCall(ValueError):
    """A call that is not in the syntax; says what and where."""


def read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of ``call:NAME{…}``.

    Raises
    ------
    BadCall
        If it is anything else: nothing is guessed.
    """
    head = _HEAD.match(text := text.strip())
    if head is None:
        raise BadCall(f"it does not begin with call:NAME{{ but with {text[:20]!r}")
    reader = _Reader(text, head.end() - 1)
    arguments = reader.value(0)
    if reader.place != len(text):
        raise BadCall(f"something follows its end: {text[reader.place : reader.place + 20]!r}")
    return head[1], arguments


class _Reader:
    """A place in a text, and what begins there."""

    def __init__(self, text: str, place: int) -> None:
        self.text, self.place = text, place

    def value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise BadCall(f"it is nested more than {_DEEPEST} deep")
        self._skip()
        if self._takes("{"):
            return self._object(depth)
        if self._takes("["):
            return self._list(depth)
        if self._takes(QUOTE):
            return self._string()
        if number := _NUMBER.match(self.text, self.place):
            return self._number(number)
        for word, value in _WORDS.items():
            if self._takes(word):
                return value
        raise self._bad("no value")

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._ends("}", first=not found):
            key = self._key()
            if key in found:
                raise BadCall(f"the argument {key[:40]!r} is given twice")
            self._skip()
            if not self._takes(":"):
                raise self._bad("no : after a key")
            found[key] = self.value(depth + 1)
        return found

    def _list(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not self._ends("]", first=not found):
            found.append(self.value(depth + 1))
        return found

    def _ends(self, closing: str, *, first: bool) -> bool:
        """Pass the end of a list or an object, or the comma before its next part."""
        self._skip()
        if self._takes(closing):
            return True
        if not first and not self._takes(","):
            raise self._bad(f"neither , nor {closing}")
        return False

    def _key(self) -> str:
        self._skip()
        if self._takes(QUOTE):
            return self._string()
        key = _KEY.match(self.text, self.place)
        if key is None:
            raise self._bad("no key")
        self.place = key.end()
        return key[0]

    def _string(self) -> str:
        end = self.text.find(QUOTE, self.place)
        if end < 0:
            raise BadCall("a string does not end")
        found, self.place = self.text[self.place : end], end + len(QUOTE)
        return found

    def _number(self, number: re.Match[str]) -> int | float:
        if len(number[0]) > _LONGEST_NUMBER:
            raise BadCall(f"a number is {len(number[0]):,} characters long")
        self.place = number.end()
        whole = number[1] is None and number[2] is None
        value = int(number[0]) if whole else float(number[0])
        if value in (float("inf"), float("-inf")):
            raise BadCall(f"{number[0]} is too large")
        return value

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self.place)
        assert space is not None  # it also matches nothing
        self.place = space.end()

    def _takes(self, what: str) -> bool:
        if not self.text.startswith(what, self.place):
            return False
        self.place += len(what)
        return True

    def _bad(self, what: str) -> BadCall:
        rest = self.text[self.place : self.place + 20]
        return BadCall(f"{what} at {rest!r}" if rest else f"{what} at its end")
