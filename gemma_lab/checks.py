"""Checks of arguments that several packages share."""

from __future__ import annotations

import operator
from typing import Any

from .errors import BadEdit, LabError

#: Upper bound of token positions; no sequence is longer.
MOST_TOKENS = 1 << 30


def as_index(value: Any, what: str, argument: str, *, hint: str, below: int = MOST_TOKENS) -> int:
    """Return an index of any integer type, NumPy's included; a bool is refused, for a mask is no index list.

    Parameters
    ----------
    value
        The index.
    what, argument
        What it should be (``"a layer"``) and the argument that holds it, for the error.
    below
        Upper bound, exclusive.

    Raises
    ------
    BadEdit
        If it is not an integer from 0 to `below` − 1.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not 0 <= number < below:
        raise BadEdit(f"{argument} names {what} {short_repr(value)}; it is a whole number from 0.", hint=hint)
    return number


def short_repr(value: Any) -> str:
    """Return a value's repr for an error message, cut after 57 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def whole_number(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return an argument as an `int`: any integer type is taken, NumPy's included; a bool is refused.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    value
        Its value.
    minimum, maximum
        Its range, inclusive.

    Raises
    ------
    LabError
        If it is not an integer in the range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum or (maximum is not None and number > maximum):
        upper = " or more" if maximum is None else f" to {maximum:,}"
        example = max(minimum, 20) if maximum is None else min(max(minimum, 20), maximum)
        raise LabError(
            f"{name}={short_repr(value)} is not a whole number of {minimum:,}{upper}.",
            hint=f"For example {name}={example}.",
        )
    return number


def has_surrogate(text: str) -> bool:
    """Return whether a text has half a surrogate pair, which no file and no page can hold."""
    return not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text)
