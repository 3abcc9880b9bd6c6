"""The JSON Schema of a tool's parameters, reduced to what Gemma 4's declarations can express.

A declaration has, for every leaf, ``type``, ``description``, ``enum``, ``items``, ``properties``,
``required`` and ``nullable`` (reference: ``format_parameters`` in Gemma 4's chat template). `normalize`
brings a schema to that form without losing a type, an enum or a description, or refuses it. Limits such as
``minimum`` are kept for `gemma_lab.models.chat.argument_checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from ...errors import BadPrompt
from .plain_json import MAX_DEPTH, plain, short

Schema = dict[str, Any]

#: JSON's types, by the Python type of a value of an enum.
_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_TYPES = ("string", "integer", "number", "boolean", "array", "object", "null")
#: Keywords that are kept for checking arguments; a declaration does not show them.
_LIMITS = frozenset(
    [
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    ]
)
#: Keywords that a declaration cannot express and that arguments can violate.
_REFUSED = frozenset(
    [
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "dependencies",
        "patternProperties",
        "prefixItems",
        "contains",
        "unevaluatedItems",
        "unevaluatedProperties",
        "additionalItems",
        "$dynamicRef",
    ]
)
_MAX_NODES = 5_000
_MAX_NESTING = 4 * MAX_DEPTH  # of Python values: a level of a schema is up to four of them
_HINT = "Declare it as one of string, integer, number, boolean, array or object, or describe it in text."


def normalize(schema: Any, where: str) -> Schema:
    """Return the schema of a tool's parameters in the form of a declaration.

    ``$ref`` is resolved, ``anyOf [X, null]`` and ``type: [X, "null"]`` become X with ``nullable``,
    ``const`` becomes an ``enum`` of one value, and a missing ``type`` is inferred from ``enum``,
    ``properties`` or ``items``.

    Parameters
    ----------
    schema
        A JSON Schema whose type is ``object``; it may hold ``$defs``.
    where
        What it declares, to begin an error with.

    Raises
    ------
    BadPrompt
        If it is no schema of an object, holds what a declaration cannot express (a union of two types, say),
        refers to itself or to another file, or is nested more than `MAX_DEPTH` deep.
    """
    schema = plain(schema, where, max_depth=_MAX_NESTING)
    if not isinstance(schema, dict):
        raise BadPrompt(
            f"{where} is {short(schema)}, not a JSON Schema.",
            hint='Pass {"type": "object", "properties": {"city": {"type": "string"}}}.',
        )
    described = {"type", "$ref", "allOf", "anyOf", "oneOf", "properties", "required", "additionalProperties"}
    if not described & set(schema):
        raise BadPrompt(
            f"{where} has neither a type nor properties: {short(schema)}.",
            hint='Pass {"type": "object", "properties": {"city": {"type": "string"}}}.',
        )
    normalized = _Normalizer(schema).node(schema, where, 0)
    if normalized["type"] != "object" or normalized.get("nullable"):
        raise BadPrompt(
            f"{where} is of type {normalized['type']}; arguments are an object.",
            hint='Pass {"type": "object", "properties": {…}}.',
        )
    return {"type": "object", "properties": {}, **normalized}


def property_names(schema: Mapping[str, Any]) -> set[str]:
    """Return the names of all properties of a normalized schema, at every depth."""
    names = set(schema.get("properties", ()))
    for inner in schema.get("properties", {}).values():
        names |= property_names(inner)
    for key in ("items", "additionalProperties"):
        if isinstance(inner := schema.get(key), Mapping):
            names |= property_names(inner)
    return names


class _Normalizer:
    """Normalizes the nodes of one schema; `root` is what its references point into."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._open: list[str] = []  # references that are being resolved
        self._nodes = 0

    def node(self, schema: Any, where: str, depth: int) -> Schema:
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > _MAX_NODES:
            raise BadPrompt(
                f"{where} is nested more than {MAX_DEPTH} deep, or has more than {_MAX_NODES:,} parts.",
                hint="Flatten the declaration.",
            )
        if not isinstance(schema, dict):
            raise BadPrompt(f"{where} is {short(schema)}, not a JSON Schema.", hint=_HINT)
        if "$ref" in schema:
            return self._referred(schema, where, depth)
        for word in schema:
            if word in _REFUSED:
                raise BadPrompt(f"{where} uses {word}, which a declaration cannot express.", hint=_HINT)
        for word in ("allOf", "anyOf", "oneOf"):
            if word in schema:
                return self._combined(schema, word, where, depth)
        return self._plain(schema, where, depth)

    def _referred(self, schema: Schema, where: str, depth: int) -> Schema:
        reference = schema["$ref"]
        if reference in self._open:
            raise BadPrompt(f"{where} contains itself ({reference}).", hint="Declare a fixed depth instead.")
        target = _pointed(self._root, reference, where)
        if not isinstance(target, dict):
            raise BadPrompt(f"{where} refers to {short(target)}, not to a JSON Schema.", hint=_HINT)
        self._open.append(reference)
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        normalized = self.node({**target, **siblings}, where, depth)
        self._open.pop()
        return normalized

    def _combined(self, schema: Schema, word: str, where: str, depth: int) -> Schema:
        """Fold ``allOf`` of one schema, and ``anyOf`` or ``oneOf`` of a type and null or of enums."""
        branches = schema[word]
        if not isinstance(branches, list) or not branches:
            raise BadPrompt(f"{where} has {word}: {short(branches)}, not a list of schemas.", hint=_HINT)
        outer = {key: value for key, value in schema.items() if key != word}
        if len(branches) == 1 and isinstance(branches[0], dict):
            return self.node({**branches[0], **outer}, where, depth)
        if word == "allOf":
            raise BadPrompt(f"{where} is all of {len(branches)} schemas.", hint="Merge them into one.")
        # keywords beside the branches, such as an outer type, apply to each of them
        shared = {key: value for key, value in outer.items() if key not in ("description", "nullable")}
        nodes = [
            self.node({**shared, **branch} if isinstance(branch, dict) else branch, where, depth)
            for branch in branches
        ]
        values = [node for node in nodes if node["type"] != "null"]
        folded = _folded(values, where)
        if len(values) < len(nodes) or outer.get("nullable"):
            folded["nullable"] = True
        if "description" in outer:
            folded["description"] = _text(outer["description"], where)
        return folded

    def _plain(self, schema: Schema, where: str, depth: int) -> Schema:
        normalized: Schema = {}
        if schema.get("description"):
            normalized["description"] = _text(schema["description"], where)
        kind, nullable, enum = _type_and_enum(schema, where)
        if enum is not None:
            normalized["enum"] = enum
        normalized |= {key: value for key, value in schema.items() if key in _LIMITS and value is not None}
        if kind == "array" and (items := schema.get("items")) not in (None, True, {}):
            normalized["items"] = self.node(items, f"{where}[]", depth + 1)
        if kind == "object":
            normalized |= self._object(schema, where, depth)
        if nullable:
            normalized["nullable"] = True
        return {"type": kind, **normalized}

    def _object(self, schema: Schema, where: str, depth: int) -> Schema:
        properties = schema.get("properties") or {}
        if not isinstance(properties, dict):
            raise BadPrompt(
                f"{where}: properties is {short(properties)}, not a mapping.",
                hint='Pass {"properties": {"city": {"type": "string"}}}.',
            )
        nodes = {name: self.node(inner, f"{where}.{name}", depth + 1) for name, inner in properties.items()}
        normalized: Schema = {"properties": nodes}
        required = schema.get("required")
        if required is not None and not isinstance(required, list):
            raise BadPrompt(
                f"{where}: required is {short(required)}, not a list of names.", hint="Pass a list."
            )
        for name in required or ():
            if not isinstance(name, str) or name not in properties:
                raise BadPrompt(f"{where}: {short(name)} is required but not a property.", hint="Declare it.")
        if required:
            normalized["required"] = list(dict.fromkeys(required))
        names = schema.get("propertyNames")
        if names is not None and names != {"type": "string"}:
            raise BadPrompt(f"{where} uses propertyNames, which a declaration cannot express.", hint=_HINT)
        if (extra := schema.get("additionalProperties")) is not None:
            normalized["additionalProperties"] = self._extra(extra, properties, where, depth)
            if isinstance(normalized["additionalProperties"], dict):
                described = f"Its values are of type {normalized['additionalProperties']['type']}."
                before = schema.get("description") or ""
                if described not in before:  # declarations do not show additionalProperties
                    normalized["description"] = f"{before} {described}".lstrip()
        return normalized

    def _extra(self, extra: Any, properties: Schema, where: str, depth: int) -> bool | Schema:
        if isinstance(extra, bool):
            return extra
        if extra == {}:
            return True
        node = self.node(extra, f"{where}.*", depth + 1)
        if node["type"] in ("object", "array") or "enum" in node or properties:
            raise BadPrompt(
                f"{where} has values of type {node['type']} under any name, which cannot be declared.",
                hint="List the properties, or use an array of objects.",
            )
        return node


def _folded(nodes: list[Schema], where: str) -> Schema:
    """Return one schema for several: the same one, enums of one type, or integer and number."""
    if not nodes:
        return {"type": "null"}
    first = {**nodes[0]}
    bare = [
        {key: value for key, value in node.items() if key not in ("description", "nullable")}
        for node in nodes
    ]
    if any(node.get("nullable") for node in nodes):
        first["nullable"] = True
    if all(node == bare[0] for node in bare):
        return first
    kinds = {node["type"] for node in nodes}
    if len(kinds) == 1 and all("enum" in node for node in nodes):
        first["enum"] = [value for node in nodes for value in node["enum"]]
        named = [f"{node['enum'][0]}: {node['description']}" for node in nodes if node.get("description")]
        return {**first, **({"description": "; ".join(named)} if named else {})}
    if kinds == {"integer", "number"} and all(len(node) == 1 for node in bare):
        return {**first, "type": "number"}
    raise BadPrompt(
        f"{where} is one of {len(nodes)} schemas: {', '.join(node['type'] for node in nodes)}.", hint=_HINT
    )


def _type_and_enum(schema: Schema, where: str) -> tuple[str, bool, list[Any] | None]:
    """Return the type of a node, whether it may be null, and its enum without null."""
    enum = [schema["const"]] if "const" in schema else schema.get("enum")
    nullable = bool(schema.get("nullable"))
    if enum is not None and (not isinstance(enum, list) or not enum):
        raise BadPrompt(
            f"{where}: enum is {short(enum)}, not a list of values.", hint="Pass a list, or leave it out."
        )
    values = list(dict.fromkeys(map(_hashable, enum or ())))
    kinds = _named_types(schema, where)
    if kinds is None:
        kinds = _inferred(schema, [value for _, value in values], where)
    if None in [value for _, value in values] and kinds != ["null"]:
        nullable, values = True, [pair for pair in values if pair[1] is not None]
    others = [kind for kind in kinds if kind != "null"] or ["null"]
    nullable = nullable or (len(kinds) > 1 and "null" in kinds)
    if set(others) == {"integer", "number"}:
        others = ["number"]
    if len(others) > 1:
        raise BadPrompt(f"{where} is of {len(others)} types: {', '.join(others)}.", hint=_HINT)
    for _, value in values:
        allowed = {"number": ("integer", "number")}.get(others[0], (others[0],))
        is_whole = others[0] == "integer" and isinstance(value, float) and value.is_integer()
        if _JSON_TYPES.get(type(value)) not in allowed and not is_whole:
            raise BadPrompt(
                f"{where} is of type {others[0]}; its enum holds {short(value)}.", hint="Correct one."
            )
    return others[0], nullable, [value for _, value in values] if enum is not None and values else None


def _hashable(value: Any) -> tuple[str, Any]:
    if isinstance(value, list | dict):
        return ("json", repr(value))
    return (type(value).__name__, value)  # so that True differs from 1


def _named_types(schema: Schema, where: str) -> list[str] | None:
    """Return the types that a node names, in lower case; None if it names none."""
    kind = schema.get("type")
    if kind is None:
        return None
    kinds = [kind] if isinstance(kind, str) else kind
    if not isinstance(kinds, list) or not kinds or not all(isinstance(each, str) for each in kinds):
        raise BadPrompt(f"{where}: type is {short(kind)}.", hint=f"Types are {', '.join(_TYPES)}.")
    lowered = [each.lower() for each in kinds]
    for each in lowered:
        if each not in _TYPES:
            raise BadPrompt(f"{where}: type is {each!r}.", hint=f"Types are {', '.join(_TYPES)}.")
    return list(dict.fromkeys(lowered))


def _inferred(schema: Schema, values: list[Any], where: str) -> list[str]:
    if values:
        return list(dict.fromkeys(_JSON_TYPES.get(type(value), "object") for value in values))
    if {"properties", "additionalProperties", "required"} & set(schema):
        return ["object"]
    if "items" in schema:
        return ["array"]
    raise BadPrompt(f"{where} has no type: {short(schema)}.", hint=_HINT)


def _text(description: Any, where: str) -> str:
    if not isinstance(description, str):
        raise BadPrompt(f"{where}: description is {short(description)}.", hint="Pass text.")
    return description


def _pointed(root: Schema, reference: Any, where: str) -> Any:
    """Return what a JSON Pointer such as ``#/$defs/Place`` points to."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise BadPrompt(
            f"{where} refers to {short(reference)}, which is not in the schema.",
            hint='Only references within the schema, "#/$defs/…", are resolved.',
        )
    target: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        index = int(name) if isinstance(target, list) and name.isdecimal() else name
        try:
            target = target[index]
        except (KeyError, IndexError, TypeError) as error:
            raise BadPrompt(
                f"{where} refers to {reference!r}, and there is no {name!r}.",
                hint="Pass the schema with its $defs.",
            ) from error
    return target
