"""A schema as the grammar engine enforces all of it, where it reads JSON Schema otherwise than the standard.

llguidance 1.9 refuses the keywords that it does not know. Of those it knows, it takes bounds and constants as
floating-point numbers, counts a repeated key as another property, and reads patterns as Rust does. Here a
schema is narrowed to what both readings allow, or refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from ...errors import BadSchema
from .patterns import engine_pattern
from .references import check_finite, pointed

#: Keywords whose values are schemas by name, lists of schemas, and schemas.
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
SINGLE = (
    "items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains",
    "propertyNames", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
#: Largest whole number up to which floats hold every one, and the largest bound of the engine.
_EXACT, _LARGEST = 2**53, math.nextafter(2.0**63, 0)
#: Whole numbers below it have floats within 10⁻⁹.
_SMALL = 10**6
_UNWRITTEN = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DAY = rf"^(?:[0-9]{{4}}-(?:(?:0[13-9]|1[0-2])-|02-(?:[01]|2[0-8]))|{_LEAP})"
#: Narrower than the engine's own: no 29 February in other years, no year 0, no leap second.
_FORMATS = {
    "date": [_DAY, "^(?:[1-9]|0[1-9]|00[1-9]|000[1-9])"],
    "date-time": [_DAY, "^(?:[1-9]|0[1-9]|00[1-9]|000[1-9])", "[Tt ][0-9]{2}:[0-9]{2}:[0-5]"],
    "time": ["^[0-9]{2}:[0-9]{2}:[0-5]"],
}
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array"}


def engine_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that the engine enforces as it stands: the same, or a narrower one.

    Parameters
    ----------
    schema
        A valid schema, as plain data.

    Raises
    ------
    BadSchema
        If it allows no value that ends, or what it says cannot be enforced; the message names the place.
    """
    check_finite(schema)
    made: dict[str, Any] = _Rewriter(schema).node(schema, "$")
    return made


class _Rewriter:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def node(self, schema: Any, path: str) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        made = dict(schema)
        for key in MAPS:
            if isinstance(schema.get(key), Mapping):
                made[key] = {name: self.node(part, f"{path}.{name}") for name, part in schema[key].items()}
        for key in SINGLE:
            if isinstance(schema.get(key), Mapping):
                made[key] = self.node(schema[key], f"{path}.{key}")
        for key in LISTS:
            if isinstance(schema.get(key), list):
                made[key] = [self.node(part, f"{path}.{key}[{n}]") for n, part in enumerate(schema[key])]
        _check_constants(schema, path)
        _check_count(schema, path)
        _bound(made, path)
        _strictly_inside(made)
        _patterned(made)
        if "oneOf" in made and "anyOf" not in made and self._disjoint(schema["oneOf"]):
            made["anyOf"] = made.pop("oneOf")
        return made

    def _disjoint(self, branches: Any) -> bool:
        """Return whether no value can be of two branches, since their types differ."""
        kinds = [set(self._kinds(branch, 0)) for branch in branches]
        return not any(one & other for one, other in combinations(kinds, 2))

    def _kinds(self, schema: Any, depth: int) -> Iterator[str]:
        """Yield the types that values of a schema may have; integers are numbers."""
        if not isinstance(schema, Mapping) or depth > 8:
            yield from {*_KINDS.values(), "null"}
        elif "const" in schema or "enum" in schema:
            for value in [schema["const"]] if "const" in schema else schema["enum"]:
                yield _KINDS.get(type(value), "null")
        elif "type" in schema:
            listed = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
            yield from ("number" if each == "integer" else each for each in listed)
        else:
            yield from self._kinds(pointed(self._root, schema.get("$ref")), depth + 1)


def _check_constants(schema: Mapping[str, Any], path: str) -> None:
    """Raise `BadSchema` for constants that the engine would write as others."""
    left = [schema["const"]] if "const" in schema else []
    left += schema["enum"] if isinstance(schema.get("enum"), list) else []
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and _UNWRITTEN.search(value):
            raise BadSchema(
                f"{path}: the value {value!r:.80} holds a control character, which no answer can hold.",
                hint="Leave it out.",
            )
        elif isinstance(value, int | float) and abs(value) > _EXACT:
            raise BadSchema(
                f"{path}: the value {value!r:.80} is beyond ±2⁵³; the engine would round it.",
                hint="Use text, or bounds.",
            )


def _check_count(schema: Mapping[str, Any], path: str) -> None:
    """Raise `BadSchema` for a number of properties that a repeated key would feign."""
    least = schema.get("minProperties", 0)
    is_open = schema.get("additionalProperties") is not False or bool(schema.get("patternProperties"))
    if is_open and least - len(set(schema.get("required") or ())) > 1:
        raise BadSchema(
            f"{path}: minProperties {least} cannot be enforced where names are free.",
            hint='Require names ("required"), or use an array of pairs with minItems.',
        )


def _bound(schema: dict[str, Any], path: str) -> None:
    """Round bounds inwards to floating-point numbers, as the engine holds them."""
    for key, towards in (
        ("minimum", math.inf),
        ("exclusiveMinimum", math.inf),
        ("maximum", -math.inf),
        ("exclusiveMaximum", -math.inf),
    ):
        value = schema.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) <= _EXACT:
            continue
        if (value > 0) == (towards > 0) and abs(value) > _LARGEST:
            raise BadSchema(
                f"{path}: {key} {value!r:.40} is beyond what the engine can bound.",
                hint="Leave it out, and check the answer afterwards.",
            )
        bound = min(max(float(min(max(value, -(2**63)), 2**63)), -_LARGEST), _LARGEST)
        if (bound < value) if towards > 0 else (bound > value):
            bound = math.nextafter(bound, towards)
        schema[key] = int(bound)


def _strictly_inside(schema: dict[str, Any]) -> None:
    """Move whole exclusive bounds inwards by 10⁻⁹: the engine takes 0 for > 0 and ≤ 0.5."""
    kinds = schema.get("type", "number")
    if "number" not in ([kinds] if isinstance(kinds, str) else kinds):
        return
    for key, other, sign in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        value = schema.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if value == int(value) and 0 <= sign * value < _SMALL:
            inside = value + sign * 1e-9
            if other not in schema or sign * schema[other] < sign * inside:
                schema[other] = inside
            del schema[key]


def _patterned(schema: dict[str, Any]) -> None:
    """Write patterns as the engine reads them, and narrow formats to dates that there are."""
    if isinstance(schema.get("patternProperties"), Mapping):
        schema["patternProperties"] = {
            engine_pattern(name): part for name, part in schema["patternProperties"].items()
        }
    patterns = [{"pattern": each} for each in _FORMATS.get(schema.get("format", ""), ())]
    if patterns:
        schema["allOf"] = [*schema.get("allOf", ()), *patterns]
    if isinstance(schema.get("pattern"), str):
        schema["pattern"] = engine_pattern(schema["pattern"])
