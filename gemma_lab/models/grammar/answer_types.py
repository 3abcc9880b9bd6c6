"""JSON Schema of a caller's type, and the conversion of an answer into it.

Dataclasses and TypedDicts are converted by msgspec, which is always there. pydantic converts its own models,
and those types that hold what only pydantic knows: its models, its dataclasses, its ``Field`` and the bounds
of ``annotated_types``.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Iterator
from typing import Any

from ...errors import BadSchema

#: Formats by which pydantic and msgspec name a type; they say nothing about the text itself.
_NAMES_OF_TYPES = ("path", "binary", "password")
_DECIMAL = {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}

Converter = Callable[[Any], Any]


def is_answer_type(source: Any) -> bool:
    """Return whether a value is a type whose fields an answer can have."""
    kind = typing.get_origin(source) or source
    if not isinstance(kind, type):
        return False
    return _is_model(kind) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)


def type_schema(source: Any) -> tuple[dict[str, Any], Converter]:
    """Return the JSON Schema of a type, closed, and what makes an instance of parsed JSON.

    Parameters
    ----------
    source
        A type for which `is_answer_type` is true, parameters of generic ones included.

    Raises
    ------
    BadSchema
        If a field has a type that has no JSON Schema.
    """
    kind = typing.get_origin(source) or source
    name = getattr(source, "__name__", None) or str(source)
    if _is_model(kind):
        by_alias = kind.model_config.get("validate_by_alias") is not False
        return (
            _closed(_schema_of(name, lambda: source.model_json_schema(by_alias=by_alias))),
            lambda value: source.model_validate_json(json.dumps(value)),
        )
    if not needs_pydantic(source):
        import msgspec

        try:
            schema = msgspec.json.schema(source, schema_hook=_refused)
        except _NeedsPydantic:
            pass
        except TypeError as error:
            if "more than one" not in str(error):  # a union of classes is nothing for msgspec alone
                raise BadSchema(f"{name} has no JSON Schema: {error}.", hint=_HINT) from error
        except NameError as error:
            raise BadSchema(f"{name} has no JSON Schema: {error}.", hint=_HINT) from error
        else:
            return _closed(schema), lambda value: msgspec.convert(value, source, str_keys=True)
    try:
        from pydantic import TypeAdapter
    except ImportError:
        raise BadSchema(
            f"{name} has fields that only pydantic can convert, and it is not installed.",
            hint="pip install pydantic",
        ) from None
    schema = _schema_of(name, lambda: TypeAdapter(source).json_schema())
    return _closed(schema), lambda value: TypeAdapter(source).validate_json(json.dumps(value))


_HINT = "Give the fields types that JSON has: text, numbers, lists, dicts, dates, enums, other such classes."


class _NeedsPydantic(Exception):
    """Raised for a field of a type that msgspec does not know."""


def _refused(_kind: Any) -> Any:
    raise _NeedsPydantic


def _schema_of(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return dict(make())
    except Exception as error:  # pydantic's, for fields of types that have no schema
        said = str(error).strip().partition("\n")[0][:300]
        raise BadSchema(f"{name} has no JSON Schema: {said}", hint=_HINT) from error


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema")


def needs_pydantic(source: Any) -> bool:
    """Return whether a type holds, at any depth, what only pydantic converts and checks."""
    return any(
        _is_model(each)
        or hasattr(each, "__pydantic_validator__")
        or type(each).__module__.partition(".")[0] in ("pydantic", "annotated_types")
        for each in _parts(source, set())
    )


def _parts(hint: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the classes that a type holds at any depth, and the values in its ``Annotated``."""
    if id(hint) in seen:
        return
    seen.add(id(hint))
    yield hint
    for each in (*typing.get_args(hint), *getattr(hint, "__metadata__", ())):
        yield from _parts(each, seen)
    kind = typing.get_origin(hint) or hint
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)):
        try:
            fields = typing.get_type_hints(kind, include_extras=True)
        except (NameError, TypeError):  # said by msgspec, with the name
            return
        for each in fields.values():
            yield from _parts(each, seen)


def _closed(node: Any) -> Any:
    """Return a type's schema with objects that allow no other properties, where it leaves that open."""
    return _tags_required(_with_own_fields(node))


def _with_own_fields(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_own_fields(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = dict(node)
    if made.get("format") == "decimal":
        made = {key: value for key, value in made.items() if key != "format"} | _DECIMAL
    if made.get("format") in _NAMES_OF_TYPES:
        del made["format"]
    for key in ("properties", "$defs"):
        if isinstance(node.get(key), dict):
            made[key] = {name: _with_own_fields(part) for name, part in node[key].items()}
    for key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
        if key in node:
            made[key] = _with_own_fields(node[key])
    if isinstance(node.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def _tags_required(schema: dict[str, Any]) -> dict[str, Any]:
    """Require the tags by which the classes of a union differ: with a default they are left out of it."""
    definitions = schema.get("$defs", {})
    left: list[Any] = [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            left += node.values()
            tag, branches = node.get("discriminator"), node.get("oneOf")
            if not isinstance(tag, dict) or not isinstance(branches, list):
                continue  # no union, or a field of that name
            name = tag.get("propertyName")
            for branch in branches:
                part = definitions.get(str(branch.get("$ref", "")).removeprefix("#/$defs/"), branch)
                if name in part.get("properties", {}) and name not in part.get("required", ()):
                    part["required"] = [*part.get("required", ()), name]
        elif isinstance(node, list):
            left += node
    return schema
