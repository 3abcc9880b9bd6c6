"""Check the arguments of a call against the declared schema of its function, with `jsonschema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import BadPrompt
from ..grammar.validator import validator
from .plain_json import short
from .tool_schema import Schema


def violations(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the arguments of a call under a normalized schema: each with its path."""
    checker = validator(_strict(schema, outermost=True), formats=True)
    for error in sorted(
        checker.iter_errors(arguments), key=lambda error: list(map(str, error.absolute_path))
    ):
        yield from _described(error)


def check_schema(schema: Mapping[str, Any], where: str) -> None:
    """Raise `BadPrompt` if a normalized schema has a limit that is no limit, such as a broken pattern."""
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(_strict(schema, outermost=True))
    except SchemaError as error:
        raise BadPrompt(
            f"{where}{_path(error.absolute_path)} is no JSON Schema: {error.message[:200]}.",
            hint="See https://json-schema.org/understanding-json-schema.",
        ) from error


def _strict(schema: Mapping[str, Any], *, outermost: bool = False) -> Schema:
    """Return a normalized schema as standard JSON Schema that knows no undeclared properties."""
    strict = {key: value for key, value in schema.items() if key not in ("nullable", "description")}
    if isinstance(schema.get("items"), Mapping):
        strict["items"] = _strict(schema["items"])
    if schema["type"] == "object":
        properties = schema.get("properties") or {}
        strict["properties"] = {name: _strict(inner) for name, inner in properties.items()}
        extra = schema.get("additionalProperties")
        if isinstance(extra, Mapping):
            strict["additionalProperties"] = _strict(extra)
        elif extra is None and (properties or outermost):
            strict["additionalProperties"] = False
    if schema.get("nullable"):
        strict["type"] = [schema["type"], "null"]
        if "enum" in schema:
            strict["enum"] = [*schema["enum"], None]
    return strict


def _described(error: Any) -> Iterator[str]:
    path, value = _path(error.absolute_path).lstrip("."), error.instance
    prefix = f"{path}." if path else ""
    if error.validator == "required":
        # jsonschema reports one error per missing name; its message begins with the name's repr
        yield from (
            f"the argument {prefix}{name} is missing"
            for name in error.validator_value
            if error.message.startswith(repr(name)) and name not in value
        )
    elif error.validator == "additionalProperties" and error.validator_value is False:
        known = error.schema.get("properties", {})
        yield from (f"there is no argument {prefix}{name}" for name in value if name not in known)
    elif error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        yield f"the argument {path} is {short(value)}, not {' or '.join(kinds)}"
    elif error.validator == "enum":
        allowed = ", ".join(map(repr, error.validator_value))
        yield f"the argument {path} is {short(value)}, not one of {allowed}"
    else:
        yield f"{f'the argument {path}' if path else 'the arguments'}: {error.message[:200]}"


def _path(steps: Any) -> str:
    """Return e.g. ``.at.tags[0]``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
