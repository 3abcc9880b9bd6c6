"""JSON Schema of an answer: from a pydantic model, a dataclass, a TypedDict or a schema itself."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import BadAnswer, BadSchema
from .partial import partial_value
from .patterns import with_time_limit

_HOW = "schema= takes a pydantic model, a dataclass, a TypedDict or a JSON Schema as a dict."
_DEEPEST = 64


@dataclass(frozen=True)
class AnswerSchema:
    """Schema of a structured answer, and its conversion into the caller's type.

    Attributes
    ----------
    name
        Of the type, or the schema's title; ``"JSON"`` without one.
    schema
        JSON Schema as plain data.
    convert
        Makes what ``reply.data`` holds from parsed JSON: an instance of the type, or the plain value.
    """

    name: str
    schema: dict[str, Any]
    convert: Callable[[Any], Any] = dataclasses.field(repr=False, compare=False)

    def parse(self, text: str) -> Any:
        """Return the value of a complete answer.

        Raises
        ------
        BadAnswer
            If the text is not JSON, or does not satisfy the schema; the error has the text.
        """
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadAnswer(
                f"The answer is not complete JSON: {error}.",
                hint="error.text has the answer, error.partial its value as far as it can be read.",
                text=text,
                partial=partial_value(text),
            ) from None
        fault = first_fault(value, self.schema)
        if fault is not None:
            raise BadAnswer(
                f"The answer does not satisfy {self.name}: {fault}.",
                hint="See error.text.",
                text=text,
                partial=value,
            )
        try:
            return self.convert(value)
        except Exception as error:  # validators of the caller's own type may raise anything
            raise BadAnswer(
                f"{self.name} refuses the answer: {type(error).__name__}: {error}.",
                hint="The JSON is valid; a validator of the type says no. See error.text.",
                text=text,
                partial=value,
            ) from error


def first_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return where and why a value does not satisfy a schema; None if it does."""
    from jsonschema import validators

    kind = validators.validator_for(schema, default=validators.Draft202012Validator)
    validator = with_time_limit(kind)(schema)
    fault = min(validator.iter_errors(value), key=lambda error: list(map(str, error.path)), default=None)
    return None if fault is None else f"{fault.json_path}: {fault.message[:200]}"


def answer_schema(source: Any) -> AnswerSchema:
    """Return the schema of a structured answer.

    Parameters
    ----------
    source
        A pydantic model class, a dataclass, a TypedDict, or a JSON Schema as a mapping. A type's objects
        have no fields but its own, unless it allows them (pydantic's ``extra="allow"``); a JSON Schema is
        taken as it is.

    Raises
    ------
    BadSchema
        If it is none of these, contains itself, or is not valid JSON Schema.
    """
    if isinstance(source, AnswerSchema):
        return source
    if isinstance(source, Mapping):
        schema = _plain(source)
        return _checked(AnswerSchema(str(schema.get("title", "JSON")), schema, lambda value: value))
    model: Any = source
    if isinstance(source, type) and hasattr(source, "model_json_schema"):
        try:
            schema = source.model_json_schema()
        except Exception as error:  # fields of types that have no schema
            raise BadSchema(f"{source.__name__} has no JSON Schema: {error}.", hint=_HOW) from error
        return _checked(AnswerSchema(source.__name__, _closed(_plain(schema)), model.model_validate))
    if isinstance(source, type) and (dataclasses.is_dataclass(source) or typing.is_typeddict(source)):
        import msgspec

        try:
            schema = msgspec.json.schema(source)
        except (TypeError, NameError) as error:
            raise BadSchema(f"{source.__name__} has no JSON Schema: {error}.", hint=_HOW) from error
        kind = source
        return _checked(
            AnswerSchema(kind.__name__, _closed(_plain(schema)), lambda value: msgspec.convert(value, kind))
        )
    raise BadSchema(f"schema={source!r:.80} is no schema.", hint=_HOW)


def _closed(node: Any) -> Any:
    """Return a type's schema with objects that allow no other properties, where it leaves that open."""
    if isinstance(node, list):
        return [_closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    made = dict(node)
    for key in ("properties", "$defs"):
        if isinstance(node.get(key), dict):
            made[key] = {name: _closed(part) for name, part in node[key].items()}
    for key in ("items", "prefixItems", "anyOf", "oneOf", "allOf", "additionalProperties"):
        if key in node:
            made[key] = _closed(node[key])
    if isinstance(node.get("properties"), dict):
        made.setdefault("additionalProperties", False)
    return made


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema as plain JSON data, or raise `BadSchema`."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except RecursionError:
        raise BadSchema(
            "The schema contains itself.", hint="Use $ref to refer to a definition in $defs."
        ) from None
    except (TypeError, ValueError) as error:
        raise BadSchema(f"The schema is no JSON: {error}.", hint=_HOW) from None
    depth = deepest = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        raise BadSchema(
            f"The schema is nested {deepest} deep; at most {_DEEPEST}.", hint="Split it with $defs."
        )
    plain: dict[str, Any] = json.loads(text)
    return plain


def _checked(answer: AnswerSchema) -> AnswerSchema:
    from jsonschema import SchemaError, validators

    if not isinstance(answer.schema.get("$schema", ""), str):
        raise BadSchema(f"$schema is {answer.schema['$schema']!r:.80}, which is no address.", hint=_HOW)
    kind = validators.validator_for(answer.schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(answer.schema)
    except SchemaError as error:
        raise BadSchema(
            f"{answer.name} is no valid JSON Schema: {error.json_path}: {error.message:.200}.", hint=_HOW
        ) from None
    return answer
