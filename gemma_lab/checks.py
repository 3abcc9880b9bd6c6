"""Check arguments of functions: indices, numbers, lists, paths, texts."""

from __future__ import annotations

import math
import operator
import os
from pathlib import Path
from typing import Any

from .errors import BadEdit, LabError

#: Upper bound of token positions; no sequence is longer.
MAX_TOKENS = 1 << 30


def as_index(value: Any, what: str, argument: str, *, hint: str, below: int = MAX_TOKENS) -> int:
    """Return an index of any integer type as an `int`; a bool is refused: it may come from a mask.

    Parameters
    ----------
    value
        The index.
    what, argument
        What it counts (``"a layer"``) and the name of the argument, for the error.
    hint
        Hint of the error.
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
        raise BadEdit(f"{argument} names {what} {short_repr(value)}, not a whole number from 0.", hint=hint)
    return number


def short_repr(value: Any) -> str:
    """Return the repr of a value for an error message, shortened to 58 characters if it has more than 60."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def type_name(value: Any) -> str:
    """Return the type of a value with its article, for an error message: ``"an int"``, ``"None"``."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def no_loaded_model(value: Any, call: str, *, before: str = "") -> LabError:
    """Return the error for what was given in place of a loaded model.

    Parameters
    ----------
    call
        What was called, e.g. ``"gl.Chat"``.
    before
        Arguments before the model, for the hint.
    """
    source = f"gl.load({value!r})" if isinstance(value, str) else 'gl.load("mini-moe")'
    return LabError(f"{call} takes a loaded model, not {type_name(value)}.", hint=f"{call}({before}{source})")


def whole_number(name: str, value: Any, *, minimum: int, maximum: int | None = None) -> int:
    """Return an argument of any integer type as an `int`; a bool is refused.

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


def real_number(name: str, value: Any, *, minimum: float, maximum: float, hint: str = "") -> float:
    """Return an argument as a `float`: any real number is taken, NumPy's included; bools and text are not.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    value
        Its value.
    minimum, maximum
        Its range, inclusive; NaN is in no range.
    hint
        What to pass instead. Default: an example.

    Raises
    ------
    LabError
        If it is not a number in the range.
    """
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not minimum <= number <= maximum:
        raise LabError(
            f"{name}={short_repr(value)} is not a number from {minimum:g} to {maximum:g}.",
            hint=hint or f"For example {name}={min(max(minimum, 1.0), maximum):g}.",
        )
    return number


def as_path(name: str, value: Any, *, example: str) -> Path:
    """Return an argument as a path, ``~`` expanded.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    value
        Its value.
    example
        A call that takes one, for the hint.

    Raises
    ------
    LabError
        If it is no path.
    """
    if not isinstance(value, str | os.PathLike) or not str(value).strip():
        raise LabError(f"{name} is {short_repr(value)}, not a path.", hint=example)
    return Path(value).expanduser()


def members(name: str, value: Any, *, example: str) -> tuple[Any, ...]:
    """Return the members of an argument that is a list, a set, an array or another iterable; text is none.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    value
        Its value.
    example
        The argument with a value, for the hint.

    Raises
    ------
    LabError
        If it has no members.
    """
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return tuple(value)
    except TypeError:
        raise LabError(f"{name}={short_repr(value)} is not a list.", hint=f"For example {example}.") from None


def has_surrogate(text: str) -> bool:
    """Return whether a text has a lone surrogate, which UTF-8 cannot encode."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
