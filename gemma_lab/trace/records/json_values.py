"""Values as JSON holds them, for the free-form parts of a trace."""

from __future__ import annotations

import math
from typing import Any

from ...checks import has_surrogate
from ...errors import BadTrace

#: A value may be nested this deep: far below what Python's JSON reader can take.
MAX_NESTED = 64


def plain_json(value: Any, *, depth: int = 0) -> Any:
    r"""Return a value as reading it back from JSON gives it.

    Tuples become lists, integer keys become text, and lone surrogates, which no file or page can hold, are
    written as ``\udc80``. What JSON does not have is returned as it is: `check_json` refuses it.
    """
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if depth <= MAX_NESTED and isinstance(value, list | tuple):
        return [plain_json(one, depth=depth + 1) for one in value]
    if depth <= MAX_NESTED and isinstance(value, dict):
        keys = [str(key) if type(key) is int else plain_json(key) for key in value]
        if len(set(keys)) != len(keys):
            raise BadTrace(
                f"Two keys of a mapping are the same text: {sorted(map(str, keys))[:8]}.",
                hint="Give each key once; 4 and '4' are one key in a file.",
            )
        return {key: plain_json(one, depth=depth + 1) for key, one in zip(keys, value.values(), strict=True)}
    return value


def check_json(value: Any, path: str) -> None:
    """Check that a value is JSON: text without lone surrogates, finite numbers, lists, mappings from text.

    Parameters
    ----------
    value
        Anything.
    path
        What to call it in an error.

    Raises
    ------
    ValueError
        With the path of the first part that is not.
    """
    pending = [(value, path, 0)]
    while pending:
        one, path, depth = pending.pop()
        if depth > MAX_NESTED:
            msg = f"{path[:80]}… is nested more than {MAX_NESTED} deep"
            raise ValueError(msg)
        if isinstance(one, dict):
            if odd := [key for key in one if not isinstance(key, str) or has_surrogate(key)]:
                msg = f"{path} has the key {odd[0]!a:.40}, which is not plain text"
                raise ValueError(msg)
            pending += [(each, f"{path}.{key[:40]}", depth + 1) for key, each in one.items()]
        elif isinstance(one, list | tuple):
            pending += [(each, f"{path}[{at}]", depth + 1) for at, each in enumerate(one)]
        elif isinstance(one, str):
            if has_surrogate(one):
                msg = f"{path} has half a surrogate pair, which is not text"
                raise ValueError(msg)
        elif not (
            one is None or isinstance(one, bool | int) or (isinstance(one, float) and math.isfinite(one))
        ):
            shown = repr(one) if isinstance(one, float) else f"of type {type(one).__name__}"
            msg = f"{path} is {shown}, which JSON does not have"
            raise ValueError(msg)
