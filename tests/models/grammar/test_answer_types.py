"""Answers become instances of the caller's types: of pydantic and dataclasses, nested and generic."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Generic, Literal, TypeVar

import annotated_types
import pydantic
import pytest

from gemma_lab.errors import BadAnswer, BadSchema
from gemma_lab.models.grammar.schema import answer_schema

T = TypeVar("T")


class Colour(Enum):
    RED = "r"


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    day: dt.date
    pair: tuple[int, int]
    colour: Colour


class Renamed(pydantic.BaseModel):
    at: int = pydantic.Field(alias="where")


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_by_alias=False, validate_by_name=True)
    at: int = pydantic.Field(alias="where")


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


class Owner(pydantic.BaseModel):
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


class Files(pydantic.BaseModel):
    path: Path
    secret: pydantic.SecretStr
    data: bytes


@dataclass
class Box(Generic[T]):
    item: T


@dataclass
class Bounded:
    n: Annotated[int, pydantic.Field(ge=1, le=5)]
    m: Annotated[int, annotated_types.Ge(2)] = 2


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, pydantic.Field(le=5)]


@dataclass
class Mixed:
    owner: Owner
    price: Decimal


@dataclass
class Priced:
    price: Decimal
    by_number: dict[int, str]


@dataclass
class Left:
    a: int


@dataclass
class Right:
    b: str


@dataclass
class Either:
    one: Left | Right


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (
            Strict,
            '{"day": "2026-01-02", "pair": [1, 2], "colour": "r"}',
            Strict(day=dt.date(2026, 1, 2), pair=(1, 2), colour=Colour.RED),
        ),
        (Renamed, '{"where": 3}', Renamed(where=3)),
        (ByName, '{"at": 3}', ByName(at=3)),
        (Owner, '{"pet": {"kind": "dog", "name": "x"}}', Owner(pet=Dog(name="x"))),
        (Files, '{"path": "a", "secret": "b", "data": "c"}', Files(path="a", secret="b", data=b"c")),
        (Box[int], '{"item": 1}', Box(1)),
        (Bounded, '{"n": 5, "m": 2}', Bounded(5)),
        (Checked, '{"n": 5}', Checked(5)),
        (
            Mixed,
            '{"owner": {"pet": {"kind": "cat", "lives": 9}}, "price": 1.5}',
            Mixed(Owner(pet=Cat(lives=9)), Decimal("1.5")),
        ),
        (Priced, '{"price": "1.50", "by_number": {"1": "x"}}', Priced(Decimal("1.50"), {1: "x"})),
        (Either, '{"one": {"b": "x"}}', Either(Right("x"))),
    ],
    ids=str,
)
def test_an_answer_becomes_the_type(kind, text, value):
    parsed = answer_schema(kind).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Bounded, '{"n": 9}'),
        (Bounded, '{"n": 5, "m": 1}'),
        (Checked, '{"n": 9}'),
        (Owner, '{"pet": {"name": "x"}}'),
        (Box[int], '{"item": "x"}'),
        ({"type": "number"}, "1e999"),
        ({"type": "number"}, "NaN"),
        ({"type": "array"}, "[-1e400]"),
    ],
    ids=str,
)
def test_limits_of_the_type_are_part_of_the_schema(kind, text):
    with pytest.raises(BadAnswer):
        answer_schema(kind).parse(text)


def test_a_tag_with_a_default_is_required():
    schema = answer_schema(Owner).schema
    assert "kind" in schema["$defs"]["Cat"]["required"]
    assert "kind" not in answer_schema(Cat).schema["required"]


def test_fields_may_be_named_as_keywords():
    class Named(pydantic.BaseModel):
        discriminator: int
        oneOf: int  # noqa: N815

    assert answer_schema(Named).parse('{"discriminator": 1, "oneOf": 2}') == Named(discriminator=1, oneOf=2)


def test_what_has_no_schema_says_so():
    @dataclass
    class Odd:
        call: (
            pydantic.types.CallableDiscriminator if hasattr(pydantic.types, "CallableDiscriminator") else type
        )

    @dataclass
    class Unknown:
        there: NoSuchType  # noqa: F821

    for kind in (Odd, Unknown):
        with pytest.raises(BadSchema):
            answer_schema(kind)
