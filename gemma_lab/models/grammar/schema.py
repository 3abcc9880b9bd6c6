"""JSON Schema of an answer: from a pydantic model, a dataclass, a TypedDict or a schema itself."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import BadAnswer, BadSchema
from .answer_types import is_answer_type, type_schema
from .partial import partial_value
from .validator import validator

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
            value = json.loads(text, parse_float=_finite, parse_constant=_refused)
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


def cut_answer(error: BadAnswer, finish: str, tokens: int | None) -> BadAnswer:
    """Return the error of an answer that does not satisfy its schema because it was cut, or `error` itself.

    Parameters
    ----------
    error
        What `AnswerSchema.parse` raised.
    finish
        Why the answer ended: ``"stop"``, ``"length"`` or ``"stopped"``.
    tokens
        Its length; None if nobody told it.
    """
    if finish == "stop":
        return error
    cut = "was cut at" if finish == "length" else "was stopped after"
    length = "its limit" if tokens is None else f"{tokens:,} tokens"
    return BadAnswer(
        f"The answer {cut} {length} and is not complete: {error.what}",
        hint="Allow more with max_new_tokens=…, or bound texts and lists in the schema (maxLength, "
        "maxItems); error.text has the answer, error.partial its value as far as it can be read.",
        text=error.text,
        partial=error.partial,
    )


def first_fault(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Return where and why a value does not satisfy a schema; None if it does."""
    from referencing.exceptions import Unresolvable

    try:
        fault = min(
            validator(schema).iter_errors(value), key=lambda error: list(map(str, error.path)), default=None
        )
    except Unresolvable as error:
        return f"the schema cannot be read: {error}"[:200]
    except RecursionError:
        return "the schema cannot be read: it refers to itself without an end"
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
    if not is_answer_type(source):
        raise BadSchema(f"schema={source!r:.80} is no schema.", hint=_HOW)
    schema, convert = type_schema(source)
    name = getattr(source, "__name__", None) or repr(source)
    return _checked(AnswerSchema(name, _plain(schema), convert))


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
    plain: dict[str, Any] = json.loads(text)
    level, depth = [plain], 0
    while level := [inner for node in level for inner in _inner(node)]:
        depth += 1
    if depth > _DEEPEST:
        raise BadSchema(
            f"The schema is nested {depth} deep; at most {_DEEPEST}.", hint="Split it with $defs."
        )
    return plain


def _inner(node: Any) -> Any:
    """Return the values in a list or an object, and nothing for anything else."""
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is too large")
    return number


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _checked(answer: AnswerSchema) -> AnswerSchema:
    from jsonschema import SchemaError, validators

    if "draft-03" in str(answer.schema.get("$schema", "")):
        raise BadSchema(
            f"{answer.name} is of draft 3 of JSON Schema.",
            hint="Use draft 4 or later; 2020-12 is the newest.",
        )
    if not isinstance(answer.schema.get("$schema", ""), str):
        raise BadSchema(f"$schema is {answer.schema['$schema']!r:.80}, which is no address.", hint=_HOW)
    kind = validators.validator_for(answer.schema, default=validators.Draft202012Validator)
    try:
        kind.check_schema(answer.schema)
    except SchemaError as error:
        raise BadSchema(
            f"{answer.name} is no valid JSON Schema: {error.json_path}: {error.message:.200}.", hint=_HOW
        ) from None
    except (RecursionError, OverflowError) as error:  # of `re`, for a pattern
        raise BadSchema(f"{answer.name} has a pattern that cannot be read: {error}.", hint=_HOW) from None
    return answer
