"""JSON Schema of Python functions and types: what a tool's signature and annotations declare."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from ...errors import BadPrompt
from .docstrings import described_arguments, summary

Schema = dict[str, Any]

_SCALARS: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    Decimal: {"type": "number"},
    type(None): {"type": "null"},
    None: {"type": "null"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    UUID: {"type": "string", "format": "uuid"},
    Path: {"type": "string"},
}
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_SEQUENCES = (collections.abc.Sequence, collections.abc.MutableSequence, collections.deque)
_ARRAYS = (list, tuple, collections.abc.Iterable, collections.abc.Collection, *_SEQUENCES, *_SETS)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
#: Attributes of limits, and the keywords of JSON Schema that say the same.
_LIMITS = {
    "ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf", "pattern": "pattern",
}  # fmt: skip
_LENGTHS = {
    "string": {"min_length": "minLength", "max_length": "maxLength"},
    "array": {"min_length": "minItems", "max_length": "maxItems"},
}
_KINDS = "string, integer, number, boolean, array or object"


def declares(tool: Any) -> bool:
    """Return whether a tool is a function, or a class whose fields are the arguments."""
    return inspect.isroutine(tool) or is_record(tool)


def is_record(kind: Any) -> bool:
    """Return whether a class is a pydantic model, a dataclass, a TypedDict or a named tuple."""
    if not isinstance(kind, type):
        return False
    has_fields = dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    return has_fields or typing.is_typeddict(kind) or callable(getattr(kind, "model_json_schema", None))


def declaration(tool: Callable[..., Any]) -> dict[str, Any]:
    """Return name, description and parameters of a function or a class of fields; nothing is called.

    The description is the first paragraph of the docstring. Arguments are described by
    ``Annotated[…, "text"]``, by the fields of pydantic models and dataclasses, or by the docstring.

    Raises
    ------
    BadPrompt
        If an annotation is missing, cannot be resolved, or is nothing that JSON has.
    """
    name = getattr(tool, "__name__", "")
    if isinstance(tool, type):
        documented = vars(tool).get("__doc__") or ""
        if documented.startswith(f"{name}("):  # written by dataclasses or namedtuple, not by a person
            documented = ""
        parameters = _record(tool, name)
        parameters.pop("description", None)  # pydantic repeats the docstring there
    else:
        documented = inspect.getdoc(tool) or ""
        parameters = _signature(tool, name)
    for argument, text in described_arguments(documented).items():
        if argument in parameters.get("properties", {}):
            parameters["properties"][argument].setdefault("description", text)
    return {"name": name, "description": summary(documented), "parameters": parameters}


def _signature(function: Callable[..., Any], name: str) -> Schema:
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise BadPrompt(
            f"{name} has no signature that can be read: {error}.", hint="Wrap it in a def."
        ) from error
    hints = _hints(function, name)
    schema: Schema = {"type": "object", "properties": {}}
    required = []
    for argument, parameter in parameters.items():
        where = f"{name}({argument})"
        if parameter.kind is parameter.VAR_POSITIONAL:
            continue  # cannot be passed by name, and need not be passed
        if parameter.kind is parameter.VAR_KEYWORD:
            schema["additionalProperties"] = True
            continue
        if argument not in hints:
            receiver = "Pass a method of an object, not of its class. " if argument in ("self", "cls") else ""
            raise BadPrompt(
                f"The type of {where} is not annotated.",
                hint=f"{receiver}Annotate it with what JSON has: {_KINDS}.",
            )
        schema["properties"][argument] = _schema(hints[argument], where, ())
        if parameter.default is parameter.empty:
            required.append(argument)
    return {**schema, "required": required} if required else schema


def _hints(holder: Any, name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(holder, include_extras=True)
    except Exception as error:  # evaluates annotations, which may raise anything
        raise BadPrompt(
            f"The annotations of {name} cannot be resolved: {type(error).__name__}: {error}.",
            hint="Import or define the types that it names where the function is defined.",
        ) from error


def _schema(hint: Any, where: str, open_types: tuple[Any, ...]) -> Schema:
    """Return the JSON Schema of a type hint; `open_types` are the classes around it."""
    while isinstance(hint, typing.NewType) or hasattr(hint, "__value__"):
        hint = hint.__supertype__ if isinstance(hint, typing.NewType) else hint.__value__
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = _schema(arguments[0], where, open_types)
        return {**schema, **_annotated(hint.__metadata__), **_limits(hint.__metadata__, schema)}
    if origin is not None and getattr(origin, "_name", "") in ("Required", "NotRequired", "ReadOnly"):
        return _schema(arguments[0], where, open_types)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(each, where, open_types) for each in arguments]}
    if origin is typing.Literal:
        return {"enum": [each.value if isinstance(each, enum.Enum) else each for each in arguments]}
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if _known(kind, _SCALARS):
        return dict(_SCALARS[kind])
    if is_record(kind):
        if kind in open_types:
            raise BadPrompt(f"The type of {where} contains itself.", hint="Declare a fixed depth instead.")
        return _record(kind, where, (*open_types, kind))
    if _known(kind, _ARRAYS):
        return _array(kind, arguments, where, open_types)
    if _known(kind, _MAPPINGS):
        return _mapping(arguments, where, open_types)
    raise BadPrompt(
        f"The type of {where} is {_named(hint)}.", hint=f"Annotate it with what JSON has: {_KINDS}."
    )


def _array(kind: Any, arguments: tuple[Any, ...], where: str, open_types: tuple[Any, ...]) -> Schema:
    schema: Schema = {"type": "array", **({"uniqueItems": True} if kind in _SETS else {})}
    if kind is tuple and arguments and arguments[-1] is not ...:
        if len(set(arguments)) > 1 or arguments == ((),):
            raise BadPrompt(
                f"The type of {where} is a tuple of {len(arguments)} types.",
                hint="Annotate it as a dataclass.",
            )
        schema |= {"minItems": len(arguments), "maxItems": len(arguments)}
    if arguments and arguments[0] is not Any:
        schema["items"] = _schema(arguments[0], f"{where}[]", open_types)
    return schema


def _mapping(arguments: tuple[Any, ...], where: str, open_types: tuple[Any, ...]) -> Schema:
    if arguments and arguments[0] not in (str, Any):
        raise BadPrompt(f"The keys of {where} are {_named(arguments[0])}.", hint="Keys in JSON are strings.")
    if not arguments or arguments[1] in (Any, object):
        return {"type": "object"}
    return {"type": "object", "additionalProperties": _schema(arguments[1], f"{where}.*", open_types)}


def _record(kind: Any, where: str, open_types: tuple[Any, ...] = ()) -> Schema:
    """Return the schema of a class of fields."""
    if callable(method := getattr(kind, "model_json_schema", None)):
        try:
            schema = dict(method())
        except Exception as error:  # of pydantic, which is not imported
            raise BadPrompt(
                f"{where} has no JSON Schema: {error}.", hint="Use types that JSON has."
            ) from error
        return _inlined(schema)
    hints = _hints(kind, where)
    if typing.is_typeddict(kind):
        fields = {name: (name in kind.__required_keys__, "") for name in hints}
    elif dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        fields = {
            field.name: (
                field.default is missing and field.default_factory is missing,
                str(field.metadata.get("description", "")),
            )
            for field in dataclasses.fields(kind)
            if field.init
        }
    else:
        fields = {name: (name not in kind._field_defaults, "") for name in kind._fields}
    properties = {}
    for name, (_, text) in fields.items():
        if name not in hints:
            raise BadPrompt(f"The type of {where}.{name} is not annotated.", hint=f"Annotate it: {_KINDS}.")
        properties[name] = _schema(hints[name], f"{where}.{name}", open_types or (kind,))
        if text:
            properties[name].setdefault("description", text)
    required = [name for name, (is_required, _) in fields.items() if is_required]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _inlined(schema: Schema) -> Schema:
    """Return pydantic's schema with its definitions in the place of references to them."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any, inside: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [resolve(each, inside) for each in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name in inside:
            raise BadPrompt(f"{name} contains itself.", hint="Declare a fixed depth instead.")
        if name in definitions:
            siblings = {key: value for key, value in node.items() if key != "$ref"}
            return {**resolve(definitions[name], (*inside, name)), **siblings}
        return {key: resolve(value, inside) for key, value in node.items()}

    resolved: Schema = resolve(schema, ())
    return resolved


def _annotated(metadata: tuple[Any, ...]) -> Schema:
    """Return the description in the metadata of an ``Annotated``: a text, pydantic's ``Field`` or ``Doc``."""
    for each in metadata:
        text = (
            each
            if isinstance(each, str)
            else getattr(each, "description", getattr(each, "documentation", None))
        )
        if isinstance(text, str) and text:
            return {"description": text}
    return {}


def _limits(metadata: Iterable[Any], schema: Schema) -> Schema:
    """Return the limits in the metadata of an ``Annotated``: of pydantic, annotated_types or msgspec."""
    limits: Schema = {}
    for each in metadata:
        if isinstance(inner := getattr(each, "metadata", None), list):  # of pydantic's Field
            limits |= _limits(inner, schema)
        names = _LIMITS | _LENGTHS.get(str(schema.get("type", "")), {})
        found = {keyword: getattr(each, name, None) for name, keyword in names.items()}
        limits |= {
            keyword: value
            for keyword, value in found.items()
            if isinstance(value, int | float | str) and not isinstance(value, bool)
        }
    return limits


def _known(kind: Any, table: Mapping[Any, Any] | tuple[Any, ...]) -> bool:
    try:
        return kind in table
    except TypeError:  # not hashable
        return False


def _named(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else repr(hint)[:80]
