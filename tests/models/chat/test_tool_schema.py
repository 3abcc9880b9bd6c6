"""Schemas of parameters: normalized without loss, or refused; written and read back as declared."""

from __future__ import annotations

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st
from support.templates import prompt_text

from gemma_lab.models.chat.argument_checks import violations
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.tool_call_parser import read_call
from gemma_lab.models.chat.tool_schema import normalize, property_names

NAMES = st.text("abcd_", min_size=1, max_size=4)
LEAVES = st.one_of(
    st.sampled_from([{"type": kind} for kind in ("string", "integer", "number", "boolean")]),
    st.lists(st.text("xyz", min_size=1), min_size=1, unique=True).map(lambda enum: {"enum": enum}),
    st.integers(0, 9).map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just({"anyOf": [{"type": "integer"}, {"type": "null"}]}),
    st.just({"$ref": "#/$defs/Unit"}),
)
DESCRIBED = st.tuples(LEAVES, st.text("abc ", max_size=4)).map(
    lambda pair: {**pair[0], "description": pair[1]} if pair[1] else pair[0]
)


def _objects(inner):
    return st.dictionaries(NAMES, inner, max_size=3).map(
        lambda fields: {"type": "object", "properties": fields, "required": sorted(fields)[:1]}
    )


SCHEMAS = _objects(
    st.recursive(
        DESCRIBED,
        lambda inner: _objects(inner) | inner.map(lambda items: {"type": "array", "items": items}),
        max_leaves=8,
    )
).map(lambda schema: {**schema, "$defs": {"Unit": {"enum": ["C", "F"], "description": "A unit"}}})


def _leaves(schema, path=()):
    for name, inner in schema.get("properties", {}).items():
        yield from _leaves(inner, (*path, name))
    if "items" in schema:
        yield from _leaves(schema["items"], (*path, []))
    if not schema.get("properties") and "items" not in schema:
        yield path, schema


@settings(max_examples=150, deadline=None)
@given(SCHEMAS)
def test_every_leaf_keeps_type_enum_and_description(schema):
    normalized = normalize(schema, "f")
    assert normalize(normalized, "f") == normalized
    for path, leaf in _leaves(normalized):
        source = schema
        for step in path:
            source = source["items"] if step == [] else source["properties"][step]
        branches = [
            source,
            *source.get("anyOf", ()),
            *([schema["$defs"]["Unit"]] if "$ref" in source else ()),
        ]
        assert isinstance(leaf["type"], str)
        for branch in branches:
            values = [branch["const"]] if "const" in branch else branch.get("enum")
            assert values is None or leaf["enum"] == values
            kinds = branch.get("type", [])
            assert {leaf["type"], "null"} >= set([kinds] if isinstance(kinds, str) else kinds)
        if source.get("description", "").strip() or "$ref" in source:
            assert leaf["description"] == source.get("description", "A unit")
    assert property_names(normalized) == {step for path, _ in _paths(schema) for step in path}


def _paths(schema, path=()):
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from _paths(inner, (*path, name))
    if "items" in schema:
        yield from _paths(schema["items"], path)


@settings(max_examples=100, deadline=None)
@given(SCHEMAS)
def test_a_declaration_in_the_prompt_reads_back_as_the_schema(schema):
    text = prompt_text(conversation("x"), {"name": "f", "description": "d", "parameters": schema})
    declaration = text.split("<|tool>declaration:")[1].split("<tool|>")[0]
    assert read_call(f"call:{declaration}")[1] == {
        "description": "d",
        "parameters": _upper(normalize(schema, "f")),
    }


def _upper(schema):
    """Return a schema as the minis' template writes it: types in capitals, nothing that is empty."""
    made = {key: value for key, value in schema.items() if value not in ({}, [], "")}
    made["type"] = schema["type"].upper()
    if "enum" in made and schema["type"] != "string":
        listed = f"One of {', '.join(map(str, made['enum']))}."
        made["description"] = f"{made.get('description', '')} {listed}".lstrip()
    if "items" in made:
        made["items"] = _upper(made["items"])
    if "properties" in made:
        made["properties"] = {name: _upper(inner) for name, inner in made["properties"].items()}
    return made


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(0, 3) | st.sampled_from(["x", "C", "yz"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(SCHEMAS, st.dictionaries(NAMES, VALUES, max_size=3))
def test_arguments_have_violations_where_the_schema_they_came_from_has(schema, arguments):
    found = list(violations(arguments, normalize(schema, "f")))
    closed = _closed(schema, outermost=True)
    errors = list(jsonschema.Draft202012Validator(closed).iter_errors(arguments))
    assert bool(found) == bool(errors), (found, errors)


def _closed(schema, *, outermost=False):
    """Return a schema in which objects have no other properties than those that it names."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(inner) for name, inner in schema["properties"].items()}
        if schema["properties"] or outermost:
            closed["additionalProperties"] = False
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    return closed
