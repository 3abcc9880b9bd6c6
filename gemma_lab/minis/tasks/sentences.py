"""Sentences that say a fact, with the article that its value needs."""

from __future__ import annotations


def sentence(pattern: str, *, who: str, what: object) -> str:
    """Return a sentence about a person.

    Parameters
    ----------
    pattern
        With ``{who}`` and ``{what}``; an article before the latter is written ``a``.
    who, what
        The person, and the value of the fact.

    Examples
    --------
    >>> sentence("{who} has a {what}.", who="Ada", what="apple")
    'Ada has an apple.'
    """
    if str(what)[0] in "aeiou":
        pattern = pattern.replace(" a {what}", " an {what}")
    return pattern.format(who=who, what=what)
