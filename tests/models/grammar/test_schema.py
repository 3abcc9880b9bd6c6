"""The schema of an answer: of a type closed at every depth, of JSON Schema as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import pytest
from pydantic import BaseModel, ConfigDict

from gemma_lab.models.grammar.schema import answer_schema, first_fault


class Inner(BaseModel):
    properties: int


class Model(BaseModel):
    inner: list[Inner]
    free: dict[str, int]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


@dataclass
class Part:
    n: int


@dataclass
class Record:
    parts: list[Part]
    maybe: Part | None = None


class Typed(TypedDict):
    n: int


@pytest.mark.parametrize(
    ("kind", "fits", "fails"),
    [
        (Model, {"inner": [{"properties": 1}], "free": {"a": 1}}, {"inner": [], "free": {}, "other": 1}),
        (Model, {"inner": [], "free": {}}, {"inner": [{"properties": 1, "other": 1}], "free": {}}),
        (Record, {"parts": [{"n": 1}]}, {"parts": [{"n": 1, "other": 1}]}),
        (Record, {"parts": [], "maybe": {"n": 1}}, {"parts": [], "maybe": {"n": 1, "other": 1}}),
        (Record, {"parts": [], "maybe": None}, {"parts": [], "other": None}),
        (Typed, {"n": 1}, {"n": 1, "other": 1}),
    ],
)
def test_objects_of_a_type_have_its_fields_only(kind, fits, fails):
    schema = answer_schema(kind).schema
    assert first_fault(fits, schema) is None
    assert "other" in first_fault(fails, schema)


def test_a_type_that_allows_more_fields_keeps_them():
    assert first_fault({"x": 1, "y": 2}, answer_schema(Open).schema) is None


def test_a_json_schema_is_taken_as_it_is():
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    assert answer_schema(schema).schema == schema
    assert first_fault({"x": 1, "y": 2}, answer_schema(schema).schema) is None
