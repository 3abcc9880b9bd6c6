"""Strict JSON for saved traces and edits: no NaN or infinity, no name twice in an object."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def strict_json(data: bytes) -> Any:
    """Parse JSON, refusing NaN, infinities and objects that give a name twice.

    Raises
    ------
    ValueError
        If it is anything else, is not UTF-8, or is nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        msg = "nested too deeply"
        raise ValueError(msg) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        msg = "a name is given twice"
        raise ValueError(msg)
    return made


def _no_constant(name: str) -> NoReturn:
    msg = f"{name} is not JSON"
    raise ValueError(msg)
