"""Arguments of a call as the types that a function's annotations name."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from ..grammar.answer_types import needs_pydantic

#: What JSON's values are already.
_PLAIN = (str, bool, type(None), Any)


def bound_arguments(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call by position and by name.

    A date becomes a date, a member of an enum that member, the fields of a class an instance of it, at every
    depth, as the function's annotations say; what is not annotated stays plain JSON.

    Parameters
    ----------
    function
        The function.
    arguments
        Plain JSON by name.

    Raises
    ------
    Exception
        If a value cannot become what the annotation says, e.g. 30 February a date.
    """
    if hasattr(function, "model_json_schema"):  # pydantic's classes convert what they are called with
        return [], dict(arguments)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
    except Exception:  # of functions without either, such as that of an MCP server
        return [], dict(arguments)
    made = {
        name: converted(hints[name], value) if name in hints else value for name, value in arguments.items()
    }
    first = [name for name, each in parameters.items() if each.kind is each.POSITIONAL_ONLY]
    passed = max((index for index, name in enumerate(first, 1) if name in made), default=0)
    by_position = [made.pop(name, parameters[name].default) for name in first[:passed]]
    return by_position, made


def converted(hint: Any, value: Any) -> Any:
    """Return plain JSON as a type; as it is where nothing converts to that type."""
    if hint in _PLAIN:
        return value
    if isinstance(hint, type) and issubclass(hint, PurePath):
        return hint(value)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = typing.get_type_hints(hint)
        return hint(**{name: converted(hints[name], item) for name, item in dict(value).items()})
    if needs_pydantic(hint):
        from pydantic import TypeAdapter

        return TypeAdapter(hint).validate_json(json.dumps(value))
    import msgspec

    try:
        return msgspec.convert(value, hint, str_keys=True, dec_hook=_path)
    except msgspec.ValidationError:
        raise
    except TypeError:  # a type that msgspec does not know
        return value


def _path(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return kind(value)
    raise TypeError(f"{kind} is not converted")
