"""Grading of replies.

One rule grades mini and released models: a reply is correct if it is the answer, or sets the answer off in
bold or quotes, or (for answers that nothing longer could be mistaken for) contains it as a whole word or
phrase. A long reply, or a second number beside a number, is wrong. JSON and tool calls are compared by value.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import regex

if TYPE_CHECKING:
    from ..models.chat.tools import Call

_ENDS = ".。।!！"
_NUMBER = regex.compile(r"\d+")
_SET_OFF = regex.compile(r"\*\*(.+?)\*\*|“(.+?)”|\"(.+?)\"|„(.+?)“|«\s*(.+?)\s*»|「(.+?)」")
_FENCED = regex.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", regex.DOTALL)
_MAX_EXTRA = 120  # characters beyond the answer: enough for a sentence, too few to list all options


def normalize(text: str) -> str:
    """Normalise text for comparison: NFC, case folded, single spaces, no emphasis, no final full stop."""
    folded = unicodedata.normalize("NFC", text).casefold().replace("*", "")
    return " ".join(folded.split()).rstrip(_ENDS).strip()


def is_correct(reply: str, answer: str, *, within: bool = True) -> bool:
    """Return whether a reply gives the answer.

    Parameters
    ----------
    reply
        The model's reply.
    answer
        The one right answer.
    within
        Accept the answer anywhere in the reply as a whole word. False for number words: "two hundred" is part
        of "two hundred and five".
    """
    given, wanted = normalize(reply), normalize(answer)
    if given == wanted:
        return True
    if len(given) > len(wanted) + _MAX_EXTRA:
        return False
    if wanted.isdecimal():
        return set(_NUMBER.findall(given)) == {wanted}
    set_off = [normalize(next(filter(None, groups))) for groups in _SET_OFF.findall(reply)]
    if not within:
        return bool(set_off) and set_off[-1] == wanted
    edge = r"[\p{L}\p{M}\p{N}]"
    return regex.search(rf"(?<!{edge}){regex.escape(wanted)}(?!{edge})", given) is not None


def equal_json(reply: str, answer: str) -> bool:
    """Return whether a reply is the expected JSON value, alone or in one fenced block; 1 differs from 1.0."""
    try:
        given = json.loads(strip_fence(reply))
    except (ValueError, RecursionError):
        return False
    return _canonical(given) == _canonical(json.loads(answer))


def strip_fence(reply: str) -> str:
    """Return what is inside a reply's fenced block of code, if it is nothing but one."""
    fenced = _FENCED.match(reply)
    return str(fenced[1]) if fenced else reply


def is_correct_call(calls: Sequence[Call], expected: dict[str, Any]) -> bool:
    """Return whether the only call is of the expected function with exactly the expected arguments."""
    if len(calls) != 1 or calls[0].problem or calls[0].name != expected["name"]:
        return False
    return _canonical(calls[0].arguments) == _canonical(expected["arguments"])


def _canonical(value: Any) -> str:
    """Serialise a plain value; unlike ``==``, this distinguishes 1, 1.0 and True."""
    return json.dumps(value, sort_keys=True)
