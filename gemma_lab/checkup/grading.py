"""When an answer counts as right.

A mini says the answer alone; a large model may put it into a sentence. One rule grades both: the reply is the
answer, or sets it off in bold or quotes, or, for answers that nothing longer could be mistaken for, holds it
as a whole word or phrase. A long reply, or a second number beside a number, is no answer.
"""

from __future__ import annotations

import unicodedata

import regex

_ENDS = ".。।!！"
_NUMBER = regex.compile(r"\d+")
_SET_OFF = regex.compile(r"\*\*(.+?)\*\*|“(.+?)”|\"(.+?)\"|„(.+?)“|«\s*(.+?)\s*»|「(.+?)」")
_LONGEST = 120  # characters more than the answer: enough for a sentence, too few for a list of everything


def plain(text: str) -> str:
    """Return text as it is compared: NFC, case folded, single spaces, no emphasis, no final full stop."""
    folded = unicodedata.normalize("NFC", text).casefold().replace("*", "")
    return " ".join(folded.split()).rstrip(_ENDS).strip()


def is_right(said: str, answer: str, *, within: bool = True) -> bool:
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
    given, wanted = plain(said), plain(answer)
    if given == wanted:
        return True
    if len(given) > len(wanted) + _LONGEST:
        return False
    if wanted.isdecimal():
        return set(_NUMBER.findall(given)) == {wanted}
    set_off = [plain(next(filter(None, found))) for found in _SET_OFF.findall(said)]
    if not within:
        return bool(set_off) and set_off[-1] == wanted
    edge = r"[\p{L}\p{M}\p{N}]"
    return regex.search(rf"(?<!{edge}){regex.escape(wanted)}(?!{edge})", given) is not None
