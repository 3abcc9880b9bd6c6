"""Limits on the schemas of requests: the grammar engine recurses over them in native code.

llguidance 1.9 ends the process (stack overflow) for a tool with an object of some 2,000 properties,
and for a chain of some 1,000 references; these limits stay well below.
"""

from __future__ import annotations

from typing import Any

from .errors import invalid

#: Keys of one object or items of one list, of a schema in all, references in all, and levels.
MAX_ITEMS, MAX_NODES, MAX_REFERENCES, MAX_DEPTH = 1000, 10_000, 200, 48
#: Longest text in a schema, characters: patterns and descriptions.
MAX_TEXT = 20_000
_HINT = "this server does not take it"


def check_schema_size(schema: Any, path: str) -> None:
    """Raise `ApiError` (400) for a schema that is too large for the grammar engine.

    Parameters
    ----------
    schema
        Decoded JSON.
    path
        Where it is in the request.
    """
    nodes = references = 0
    left = [(schema, 0)]
    while left:
        value, depth = left.pop()
        inner: list[Any] = []
        if isinstance(value, dict):
            references += "$ref" in value or "$dynamicRef" in value
            inner = [*value.values()]
            if any(len(key) > MAX_TEXT for key in value):
                raise invalid(f"{path} has a name of more than {MAX_TEXT:,} characters; {_HINT}.", path)
        elif isinstance(value, list):
            inner = value
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            raise invalid(f"{path} has a text of {len(value):,} characters; {_HINT}.", path)
        nodes += len(inner)
        if len(inner) > MAX_ITEMS or nodes > MAX_NODES or references > MAX_REFERENCES or depth > MAX_DEPTH:
            raise invalid(
                f"{path} is larger than {MAX_ITEMS:,} entries of one object or list, {MAX_NODES:,} in all, "
                f"{MAX_REFERENCES} references or {MAX_DEPTH} levels; {_HINT}.",
                path,
            )
        left += [(each, depth + 1) for each in inner]
