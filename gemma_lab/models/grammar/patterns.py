"""Patterns of JSON Schema: read by the grammar engine as ``re`` reads them, or refused."""

from __future__ import annotations

import re

from ...errors import BadSchema

#: What is no digit, and no word character, for the engine (ASCII) and for ``re`` (Unicode) alike.
_NO_DIGIT = r"\P{Nd}"
_WORD = r"_\p{L}\p{M}\p{N}\p{Pc}\p{Alphabetic}\x{200c}\x{200d}"
_NO_WORD = f"[^{_WORD}]"
_FLAGS = re.compile(r"\(\?[a-zA-Z-]*x")
_HINT = "Write it in the syntax that ECMA-262 and Python share."


def engine_pattern(pattern: str) -> str:
    r"""Return a pattern for the grammar engine, whose matches ``re`` matches, too.

    The engine's patterns are Rust's with ASCII digits and words: ``\D`` would match an Arabic digit there,
    and ``[``, ``&&`` and ``~~`` inside brackets are operators.

    Parameters
    ----------
    pattern
        A pattern of JSON Schema that Python's ``re`` takes.

    Raises
    ------
    BadSchema
        If the two would read it differently and there is no other way to write it.
    """
    if _FLAGS.search(pattern):
        raise BadSchema(f"The pattern {pattern!r:.80} has the flag x.", hint="Write it without spaces.")
    made: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern[position] == "[":
            inside, position = _brackets(pattern, position)
            made.append(inside)
        elif pattern[position] == "\\":
            escape = pattern[position : position + 2]
            made.append({r"\D": _NO_DIGIT, r"\W": _NO_WORD}.get(escape, escape))
            position += 2
        else:
            made.append(pattern[position])
            position += 1
    return "".join(made)


def _brackets(pattern: str, start: int) -> tuple[str, int]:
    """Return the class in brackets that begins at `start`, and the position after it."""
    negated = pattern.startswith("[^", start)
    position = start + 1 + negated
    made = ["[^" if negated else "["]
    within = {r"\d": r"\d\p{Nd}", r"\w": rf"\w{_WORD}"} if negated else {r"\D": _NO_DIGIT, r"\W": _NO_WORD}
    first = position
    while position < len(pattern):
        character = pattern[position]
        if character == "]" and position > first:
            return "".join([*made, "]"]), position + 1
        if character == "\\":
            escape = pattern[position : position + 2]
            made.append(within.get(escape, escape))
            position += 2
            continue
        if pattern.startswith(("[:", "--"), position):
            raise BadSchema(
                f"The pattern {pattern!r:.80} has {pattern[position : position + 2]} in brackets, which has "
                "several readings.",
                hint=_HINT,
            )
        made.append(f"\\{character}" if character in "[&~" else character)
        position += 1
    return "".join(made), position  # without an end: the engine refuses it
