"""Values of JSON text that is not complete yet."""

from __future__ import annotations

import re
from typing import Any

from ...errors import MissingExtra

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
#: A number at the end: it may go on.
_NUMBER = re.compile(r"[-+.0-9eE]+\Z")


def partial_value(text: str) -> Any:
    """Return the value of the beginning of a JSON text, or None if it has none yet.

    Strings are as long as they are written; numbers, ``true``, ``false`` and ``null`` and the keys of objects
    are left out until they are complete. Nothing is checked against a schema.

    Parameters
    ----------
    text
        The beginning of a JSON text, or all of it.

    Raises
    ------
    MissingExtra
        Without jiter.
    """
    try:
        import jiter
    except ImportError:
        raise MissingExtra("Partial values need jiter.", hint="pip install jiter") from None

    if '"' not in _STRING.sub("", text):  # the text does not end inside a string
        text = _NUMBER.sub("", text)
    try:
        return jiter.from_json(text.encode(errors="replace"), partial_mode="trailing-strings")
    except ValueError:  # nothing to read yet, or no JSON
        return None
