"""Numbers that come with a medium: rates, counts of frames, and the seconds between which it is cut."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import numpy as np

from ...checks import short_repr
from ...errors import BadMedia


def as_number(value: Any) -> float | None:
    """Return a finite real number of any library as a float, None for everything else, bools included.

    Arrays and tensors without dimensions are numbers, too.
    """
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        return None
    return number if math.isfinite(number) else None


def split_rate(source: Any) -> tuple[Any, Any]:
    """Return data and rate of a pair in either order, one of them a number; else the source and None.

    ``(samples, rate)`` is what soundfile and librosa return, ``(rate, samples)`` what scipy does.
    """
    if isinstance(source, tuple) and len(source) == 2:
        scalars = [isinstance(each, Real) or getattr(each, "shape", None) == () for each in source]
        if scalars == [False, True]:
            return source
        if scalars == [True, False]:
            return source[1], source[0]
    return source, None


def check_rate(name: str, value: Any, *, minimum: float, maximum: float, example: str) -> float:
    """Return a rate per second as a float.

    Raises
    ------
    BadMedia
        If it is not a number from `minimum` to `maximum`.
    """
    number = as_number(value)
    if number is None or not minimum <= number <= maximum:
        raise BadMedia(
            f"{name}={short_repr(value)} is not a rate per second from {minimum:g} to {maximum:,.0f}.",
            hint=f"For example {name}={example}.",
        )
    return number


def check_frames(frames: Any, maximum: int) -> int | None:
    """Return a number of frames as an `int`; None stays None.

    Raises
    ------
    BadMedia
        If it is not an integer from 1 to `maximum`.
    """
    if frames is None:
        return None
    try:
        number = 0 if isinstance(frames, bool) else operator.index(frames)
    except TypeError:
        number = 0
    if not 1 <= number <= maximum:
        raise BadMedia(
            f"frames={short_repr(frames)} is not a number of frames from 1 to {maximum:,}.",
            hint="For example frames=16.",
        )
    return number


def check_span(start: Any, stop: Any) -> tuple[float | None, float | None]:
    """Return the seconds between which a medium is cut as floats; None stays None.

    Raises
    ------
    BadMedia
        If they are not seconds from 0 on, or not in this order.
    """
    numbers = []
    for name, value in (("start", start), ("stop", stop)):
        number = None if value is None else as_number(value)
        if value is not None and (number is None or number < 0):
            raise BadMedia(
                f"{name}={short_repr(value)} is not a number of seconds.", hint=f"For example {name}=2.5."
            )
        numbers.append(number)
    begin, end = numbers
    if end is not None and end <= (begin or 0):
        raise BadMedia(
            f"Nothing lies between start={begin or 0:g} and stop={end:g} seconds.",
            hint="stop must be later than start.",
        )
    return begin, end
