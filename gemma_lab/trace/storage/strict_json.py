"""JSON as saved traces and edits are read: nothing that the standard does not have, nothing said twice."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def strict_json(data: bytes) -> Any:
    """Return JSON without what JSON does not have (NaN) and without names given twice.

    Raises
    ------
    ValueError
        If it is anything else, or nested beyond reason.
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
