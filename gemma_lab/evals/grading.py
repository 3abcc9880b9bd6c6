"""When an answer counts as right.

A mini says the answer alone; a large model may put it into a sentence. One rule grades both: the reply is the
answer, or sets it off in bold or quotes, or, for answers that nothing longer could be mistaken for, holds it
as a whole word or phrase. A long reply, or a second number beside a number, is no answer. JSON and tool
calls are compared as values.
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
_LONGEST = 120  # characters more than the answer: enough for a sentence, too few for a list of everything


def normalize(text: str) -> str:
    """Return text as it is compared: NFC, case folded, single spaces, no emphasis, no final full stop."""
    folded = unicodedata.normalize("NFC", text).casefold().replace("*", "")
    return " ".join(folded.split()).rstrip(_ENDS).strip()


def is_correct(said: str, answer: str, *, within: bool = True) -> bool:
    """Return whether a reply gives the answer.

    Parameters
    ----------
    said
        The reply.
    answer
        The one right answer.
    within
        Accept the answer anywhere in the reply as a whole word. Not for number words, where "two hundred"
        stands within "two hundred and five".
    """
    given, wanted = normalize(said), normalize(answer)
    if given == wanted:
        return True
    if len(given) > len(wanted) + _LONGEST:
        return False
    if wanted.isdecimal():
        return set(_NUMBER.findall(given)) == {wanted}
    set_off = [normalize(next(filter(None, found))) for found in _SET_OFF.findall(said)]
    if not within:
        return bool(set_off) and set_off[-1] == wanted
    edge = r"[\p{L}\p{M}\p{N}]"
    return regex.search(rf"(?<!{edge}){regex.escape(wanted)}(?!{edge})", given) is not None


def equal_json(said: str, answer: str) -> bool:
    """Return whether a reply is the JSON value wanted: all of it, or in one fenced block; 1 is not 1.0."""
    fenced = _FENCED.match(said)
    try:
        given = json.loads(fenced[1] if fenced else said)
    except (ValueError, RecursionError):
        return False
    return _written(given) == _written(json.loads(answer))


def is_correct_call(calls: Sequence[Call], wanted: dict[str, Any]) -> bool:
    """Return whether exactly one call is made, of the function wanted, with its arguments and no others."""
    if len(calls) != 1 or calls[0].problem or calls[0].name != wanted["name"]:
        return False
    return _written(calls[0].arguments) == _written(wanted["arguments"])


def _written(value: Any) -> str:
    """Return a plain value in one form: Python takes 1, 1.0 and True for equal."""
    return json.dumps(value, sort_keys=True)
