"""Schemas that would end the process in the engine's native code are refused before they reach it."""

from __future__ import annotations

import pytest

import gemma_lab as gl
from gemma_lab.errors import BadSchema, LabError
from gemma_lab.models.grammar.limits import MAX_ITEMS, check_schema_size


def wide(count: int) -> dict[str, object]:
    return {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(count)}}


def chained(count: int) -> dict[str, object]:
    links = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(count)}
    return {"$ref": "#/$defs/d0", "$defs": links | {f"d{count}": {"type": "string"}}}


@pytest.mark.parametrize("schema", [wide(3000), chained(3000), {"type": "string", "pattern": "a" * 30_000}])
def test_what_the_engine_cannot_take_is_refused(schema):
    lab = gl.load("mini-moe")
    with pytest.raises(BadSchema):
        lab.chat("Hello", schema=schema, max_new_tokens=2)
    tool = {"name": "f", "description": "Do.", "parameters": {"type": "object", "properties": {"a": schema}}}
    with pytest.raises(LabError):  # declarations refuse references that do not end
        lab.chat("Hello", tools=[tool], tool_choice="required", max_new_tokens=2)


def test_an_ordinary_schema_passes():
    check_schema_size(wide(MAX_ITEMS), "The schema")
    check_schema_size(None, "The schema")
