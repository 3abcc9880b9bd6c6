"""Limits on schemas: the grammar engine recurses over them in native code.

llguidance 1.9 ends the process (stack overflow) for an object of some 2,000 properties, and for a chain of
some 1,000 references; these limits stay well below.
"""

from __future__ import annotations

from typing import Any

from ...errors import BadSchema

#: Keys of one object or items of one list, of a schema in all, references in all, and levels.
MAX_ITEMS, MAX_NODES, MAX_REFERENCES, MAX_DEPTH = 1000, 10_000, 200, 48
#: Longest text in a schema, characters: patterns and descriptions.
MAX_TEXT = 20_000
_HINT = "Simplify the schema, and check the answer afterwards."


def check_schema_size(schema: Any, path: str) -> None:
    """Raise `BadSchema` for a schema that is too large for the grammar engine.

    Parameters
    ----------
    schema
        Plain data, as JSON has it.
    path
        What it is, for the error: ``"The schema"``.
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
                raise BadSchema(f"{path} has a name of more than {MAX_TEXT:,} characters.", hint=_HINT)
        elif isinstance(value, list):
            inner = value
        elif isinstance(value, str) and len(value) > MAX_TEXT:
            raise BadSchema(f"{path} has a text of {len(value):,} characters.", hint=_HINT)
        nodes += len(inner)
        if len(inner) > MAX_ITEMS or nodes > MAX_NODES or references > MAX_REFERENCES or depth > MAX_DEPTH:
            raise BadSchema(
                f"{path} is larger than {MAX_ITEMS:,} entries of one object or list, {MAX_NODES:,} in all, "
                f"{MAX_REFERENCES} references or {MAX_DEPTH} levels.",
                hint=_HINT,
            )
        left += [(each, depth + 1) for each in inner]
