"""Schemas: declarations of tools, arguments of calls, and results."""

# No postponed annotations: functions below are declared by the types that they name here.

import datetime as dt
import decimal
import enum
import functools
import json
import pathlib
import uuid
from collections import deque, namedtuple
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict

import numpy as np
import pandas as pd
import pydantic
import torch
from PIL import Image
from support.templates import prompt_text

from corpus.row import Row
from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.tools import Call, calls, declared, result_value

Q = '<|"|>'
TEXT, NUMBER = {"type": "string"}, {"type": "number"}


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Place(pydantic.BaseModel):
    """A place."""

    city: str = pydantic.Field(description="Its name")


class Ask(pydantic.BaseModel):
    """Weather at a place."""

    place: Place
    days: Optional[int] = None  # noqa: UP045 - as callers write it
    unit: Optional[Literal["C", "F"]] = None  # noqa: UP045


class Node(pydantic.BaseModel):
    child: Optional["Node"] = None


class Odd(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    image: Image.Image


@dataclass
class Route:
    """A route."""

    start: Place
    stops: list[str] = field(default_factory=list, metadata={"description": "On the way"})


@dataclass
class Tree:
    left: "Tree | None" = None


class Box(TypedDict):
    width: int
    label: NotRequired[Annotated[str, "What it says"]]


class Pair(NamedTuple):
    a: int
    b: str = ""


Metres = NewType("Metres", float)
Point = namedtuple("Point", "x y")  # noqa: PYI024 - without types


@dataclass
class Page:
    html: str
    when: dt.date = dt.date(2026, 1, 2)


def parameters(tool):
    return declared(tool)[0]["function"]["parameters"]


def of(annotation, default=...):
    """Return the schema of an argument with an annotation."""

    def f(x): ...

    f.__annotations__ = {"x": annotation}
    if default is not ...:
        f.__defaults__ = (default,)
    return parameters(f)["properties"]["x"]


def leaf(schema, **root):
    """Return what is declared for one property."""
    return parameters({"name": "f", "parameters": {"type": "object", "properties": {"a": schema}, **root}})[
        "properties"
    ]["a"]


def named(name, schema=TEXT):
    return {"name": "f", "parameters": {"type": "object", "properties": {name: schema}}}


def documented(text):
    def f(city: str, days: int = 1): ...

    f.__doc__ = text
    return f


def described(text):
    return {
        name: leaf.get("description") for name, leaf in parameters(documented(text))["properties"].items()
    }


def nested(depth):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}


def deep_annotation():
    def f(x): ...

    f.__annotations__ = {"x": functools.reduce(lambda inner, _: list[inner], range(3000), int)}
    return f


def itself():
    schema = {"type": "object"}
    schema["properties"] = {"a": schema}
    return {"name": "f", "parameters": schema}


def shared():
    """Return a schema of 2^30 leaves in which equal parts are one object."""
    schema = TEXT
    for _ in range(30):
        schema = {"type": "object", "properties": {"a": schema, "b": schema}}
    return named("a", schema)


def fan_out():
    """Return a schema in which each of 12 definitions refers to the next one twice."""
    definitions = {"d12": TEXT}
    for number in range(12):
        reference = {"$ref": f"#/$defs/d{number + 1}"}
        definitions[f"d{number}"] = {"type": "object", "properties": {"a": reference, "b": reference}}
    root = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": definitions}
    return {"name": "f", "parameters": root}


def prompt_of(tool):
    return prompt_text(conversation("x"), tool).split("<tool|>")[0]


def variadic(city: str, *rest: int, **more: str): ...


def union(x: int | str): ...


def unresolved(x: "Nowhere"): ...  # noqa: F821


def untyped(x): ...


class Runner:
    def __call__(self, x: int): ...

    def method(self, x: int):
        """Do it."""


def refused(name, make, *holds):
    return Row(name, lambda _: declared(make()), raises=BadPrompt, holds=holds)


DECLARED = [
    Row(
        "pydantic's schema with $ref and anyOf",
        lambda _: parameters({"name": "w", "parameters": Ask.model_json_schema()})["properties"],
        equals={
            "place": {
                "type": "object",
                "description": "A place.",
                "properties": {"city": {"type": "string", "description": "Its name"}},
                "required": ["city"],
            },
            "days": {"type": "integer", "nullable": True},
            "unit": {"type": "string", "enum": ["C", "F"], "nullable": True},
        },
    ),
    Row(
        "a pydantic model",
        lambda _: (
            declared(Ask)[0]["function"]["parameters"]
            == parameters(
                {
                    "name": "w",
                    "parameters": {
                        key: value for key, value in Ask.model_json_schema().items() if key != "description"
                    },
                }
            )
        ),
        equals=True,
    ),
    Row(
        "a dataclass",
        lambda _: parameters(Route)["properties"]["stops"],
        equals={"type": "array", "items": TEXT, "description": "On the way"},
    ),
    Row(
        "the class of a dataclass",
        lambda _: (declared(Route)[0]["function"]["description"], parameters(Route)["required"]),
        equals=("A route", ["start"]),
    ),
    Row(
        "a TypedDict",
        lambda _: parameters(Box),
        equals={
            "type": "object",
            "required": ["width"],
            "properties": {
                "width": {"type": "integer"},
                "label": {"type": "string", "description": "What it says"},
            },
        },
    ),
    Row("a named tuple", lambda _: parameters(Pair)["required"], equals=["a"]),
    Row(
        "MCP's inputSchema",
        lambda _: parameters({"name": "w", "inputSchema": named("city")["parameters"]}),
        equals={"type": "object", "properties": {"city": TEXT}},
    ),
    Row(
        "Anthropic's input_schema",
        lambda _: parameters({"name": "w", "input_schema": named("city")["parameters"]}),
        equals={"type": "object", "properties": {"city": TEXT}},
    ),
    Row(
        "MCP's class of a tool",
        lambda _: parameters(
            pydantic.create_model("Tool", name=(str, "w"), inputSchema=(dict, named("city")["parameters"]))()
        ),
        equals={"type": "object", "properties": {"city": TEXT}},
    ),
    Row(
        "parameters that are a model",
        lambda _: parameters({"name": "w", "parameters": Place}),
        check=lambda found: found["required"] == ["city"],
    ),
    Row(
        "no parameters",
        lambda _: [declared({"name": "now", "parameters": each}) for each in (None, {})],
        equals=[declared({"name": "now"})] * 2,
    ),
    Row("a generator of tools", lambda _: len(declared(each for each in (Ask, Route))), equals=2),
    Row("None", lambda _: declared(None), equals=()),
    Row("a bound method", lambda _: declared(Runner().method)[0]["function"]["description"], equals="Do it"),
    Row("*args and **kw are left out", lambda _: parameters(variadic)["properties"], equals={"city": TEXT}),
    Row("a name with a space", lambda _: declared(named("first name"))[0]["function"]["name"], equals="f"),
    *(
        Row(f"annotation {name}", lambda _, a=annotation: of(a), equals=schema)
        for name, annotation, schema in (
            ("int | None", int | None, {"type": "integer", "nullable": True}),
            ("Literal", Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
            ("Literal of numbers", Literal[1, 2], {"type": "integer", "enum": [1, 2]}),
            ("Literal with None", Literal["a", None], {"type": "string", "enum": ["a"], "nullable": True}),  # noqa: PYI061
            ("Literal | Literal", Literal["a"] | Literal["b"], {"type": "string", "enum": ["a", "b"]}),  # noqa: PYI030
            ("Enum", Unit, {"type": "string", "enum": ["C", "F"]}),
            ("IntEnum", Level, {"type": "integer", "enum": [1, 2]}),
            ("Annotated", Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
            (
                "Annotated[Field]",
                Annotated[str, pydantic.Field(description="d")],
                {"type": "string", "description": "d"},
            ),
            ("NewType", Metres, NUMBER),
            (
                "list[list[int]]",
                list[list[int]],
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            ),
            ("tuple[int, ...]", tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
            (
                "tuple[int, int]",
                tuple[int, int],
                {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            ),
            ("set[str]", set[str], {"type": "array", "items": TEXT, "uniqueItems": True}),
            ("list", list, {"type": "array"}),
            ("list[Any]", list[Any], {"type": "array"}),
            ("dict", dict, {"type": "object", "properties": {}}),
            (
                "dict[str, float]",
                dict[str, float],
                {
                    "type": "object",
                    "properties": {},
                    "additionalProperties": NUMBER,
                    "description": "Its values are of type number.",
                },
            ),
            ("date", dt.date, {"type": "string", "format": "date"}),
            ("Decimal", decimal.Decimal, NUMBER),
            ("Path", pathlib.Path, TEXT),
            ("int | float", int | float, NUMBER),
        )
    ),
    *(
        Row(f"schema {name}", lambda _, s=schema: leaf(s), equals=expected)
        for name, schema, expected in (
            ("type list with null", {"type": ["string", "null"]}, {"type": "string", "nullable": True}),
            ("upper case", {"type": "STRING"}, TEXT),
            ("const", {"const": "x"}, {"type": "string", "enum": ["x"]}),
            ("enum with null", {"enum": ["x", None]}, {"type": "string", "enum": ["x"], "nullable": True}),
            ("enum of numbers", {"type": "integer", "enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
            (
                "oneOf consts",
                {"oneOf": [{"const": "x"}, {"const": "y"}]},
                {"type": "string", "enum": ["x", "y"]},
            ),
            ("allOf of one", {"allOf": [TEXT], "description": "d"}, {"type": "string", "description": "d"}),
            (
                "anyOf with an outer text",
                {"anyOf": [TEXT, {"type": "null"}], "description": "d"},
                {"type": "string", "description": "d", "nullable": True},
            ),
            (
                "items of objects",
                {"type": "array", "items": {"type": "object", "properties": {"b": TEXT}}},
                {"type": "array", "items": {"type": "object", "properties": {"b": TEXT}}},
            ),
            (
                "limits",
                {"type": "number", "minimum": 1, "title": "A", "default": 2},
                {"type": "number", "minimum": 1},
            ),
            ("nullable", {"type": "string", "nullable": True}, {"type": "string", "nullable": True}),
        )
    ),
    Row(
        "$ref into definitions, escaped",
        lambda _: leaf({"$ref": "#/definitions/a~1b"}, definitions={"a/b": {"enum": [1]}}),
        equals={"type": "integer", "enum": [1]},
    ),
    Row(
        "Google's docstring",
        lambda _: described("Do.\n\n    Args:\n        city (str): The\n            city.\n"),
        equals={"city": "The city.", "days": None},
    ),
    Row(
        "NumPy's docstring",
        lambda _: described("Do.\n\n    Parameters\n    ----------\n    city, days : x\n        A.\n"),
        equals={"city": "A.", "days": "A."},
    ),
    Row(
        "Sphinx's docstring",
        lambda _: described("Do.\n\n    :param city: A\n        b.\n    :param int days: C"),
        equals={"city": "A b.", "days": "C"},
    ),
    Row(
        "every leaf is in the prompt",
        lambda _: prompt_of({"name": "w", "parameters": Ask.model_json_schema()}),
        check=lambda text: all(
            part in text
            for part in (
                f"city:{{description:{Q}Its name{Q},type:{Q}STRING{Q}}}",
                f"days:{{nullable:true,type:{Q}INTEGER{Q}}}",
                f"unit:{{enum:[{Q}C{Q},{Q}F{Q}],nullable:true,type:{Q}STRING{Q}}}",
            )
        ),
    ),
    refused("a union of two types", lambda: union, "integer", "string"),
    refused("an annotation that cannot be resolved", lambda: unresolved, "Nowhere"),
    refused("no annotation", lambda: untyped, "untyped(x)"),
    refused("annotations 3,000 deep", deep_annotation),
    refused("a lambda", lambda: lambda: 1, "<lambda>"),
    refused("functools.partial", lambda: functools.partial(variadic, "x")),
    refused("a callable object", Runner),
    refused("a class without fields", lambda: Runner),
    refused("a method of a class", lambda: Runner.method, "self"),
    refused("a builtin without a signature", lambda: dict.fromkeys),
    refused("a named tuple without types", lambda: Point),
    refused("a pydantic model that contains itself", lambda: Node, "Node"),
    refused("a dataclass that contains itself", lambda: Tree),
    refused("a pydantic model with a type of its own", lambda: Odd),
    refused("a schema that contains itself", itself),
    refused("a $ref to itself", lambda: named("a", {"$ref": "#/properties/a"}), "#/properties/a"),
    refused("a schema 3,000 deep", lambda: nested(3000)),
    refused("a schema of 2^12 parts by $ref", fan_out),
    refused("a schema of 2^30 parts in 30 objects", shared),
    *(
        refused(f"schema {name}", lambda s=schema: named("a", s), *holds)
        for name, schema, holds in (
            ("of two types", {"type": ["string", "integer"]}, ("string, integer",)),
            ("anyOf two types", {"anyOf": [TEXT, {"type": "integer"}]}, ("string, integer",)),
            ("without a type", {}, ("f(…).a",)),
            ("that is True", True, ("True",)),
            ("of type 5", {"type": 5}, ("5",)),
            ("of type str", {"type": "str"}, ("str",)),
            ("with not", {"not": TEXT}, ("not",)),
            ("with a missing $ref", {"$ref": "#/$defs/X"}, ("$defs",)),
            ("with a $ref elsewhere", {"$ref": "https://x.org/a.json"}, ("https://x.org",)),
            ("whose enum is of another type", {"type": "string", "enum": [1]}, ("1",)),
            ("whose enum is empty", {"type": "string", "enum": []}, ("enum",)),
            ("with a broken pattern", {"type": "string", "pattern": "["}, ("pattern",)),
            ("with a text that is a number", {"type": "string", "description": 5}, ("5",)),
            (
                "with patternProperties",
                {"type": "object", "patternProperties": {"a": TEXT}},
                ("patternProperties",),
            ),
            (
                "with objects under any name",
                {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                ("object",),
            ),
            ("with NaN", {"type": "number", "enum": [float("nan")]}, ("nan",)),
            ("with a control token", {"type": "string", "description": "<|turn>"}, ("<|turn>",)),
            ("with a control token in an enum", {"enum": ["<tool|>"]}, ("<tool|>",)),
        )
    ),
    *(
        refused(f"parameters {value!r}", lambda v=value: {"name": "f", "parameters": v})
        for value in (
            "city",
            [1],
            5,
            {"a": "string"},
            {"type": "array"},
            {"type": "object", "properties": [1]},
            {"type": "object", "required": ["a"]},
            {"type": "object", "required": "a"},
        )
    ),
    *(
        refused(f"tools={value!r}", lambda v=value: v)
        for value in (
            7,
            "f",
            [7],
            b"x",
            {"description": "no name"},
            {"name": "two words"},
            {"name": "f\n"},
            {"type": "web_search", "name": "web_search"},
            {"name": 5},
            [named("a"), named("b")],
        )
    ),
    refused("a name of an argument that is empty", lambda: named("")),
    refused("a name of an argument with a control token", lambda: named("<|turn>"), "<|turn>"),
]

WEATHER = {"name": "weather", "parameters": {"type": "object", "required": ["city"], "properties": {
    "city": {"anyOf": [TEXT, {"type": "null"}]}, "days": {"type": "integer", "minimum": 1},
    "tags": {"type": "array", "items": TEXT}, "unit": {"enum": ["C", "F"]},
    "at": {"type": "object", "properties": {"lat": NUMBER}, "required": ["lat"]},
    "free": {"type": "object", "additionalProperties": True},
}}}  # fmt: skip


def faults(**arguments):
    return Call("weather", arguments).faults(WEATHER)


ARGUMENTS = [
    *(
        Row(f"arguments {json.dumps(arguments)}", lambda _, a=arguments: len(faults(**a)), equals=0)
        for arguments in (
            {"city": "Rome"},
            {"city": None},
            {"city": "x", "days": 2.0},
            {"city": "x", "at": {"lat": 1}},
            {"city": "x", "free": {"a": [1]}},
            {"city": "x", "unit": "F", "tags": []},
        )
    ),
    *(
        Row(
            f"faults of {json.dumps(arguments)}",
            lambda _, a=arguments: " | ".join(faults(**a)),
            check=lambda text, holds=holds: all(part in text for part in holds),
        )
        for arguments, holds in (
            ({}, ("city is missing",)),
            ({"city": 5}, ("city is 5", "string or null")),
            ({"city": "x", "tags": [1]}, ("tags[0] is 1", "string")),
            ({"city": "x", "at": {}}, ("at.lat is missing",)),
            ({"city": "x", "at": {"lat": 1, "b": 2}}, ("no argument at.b",)),
            ({"city": "x", "days": True}, ("days is True", "integer")),
            ({"city": "x", "days": 1.5}, ("days is 1.5",)),
            ({"city": "x", "days": 0}, ("days", "minimum")),
            ({"city": "x", "unit": "K"}, ("unit is 'K'", "'C', 'F'")),
            ({"city": "x", "unit": None}, ("unit",)),
            ({"city": "x", "z": 1}, ("no argument z",)),
        )
    ),
    Row("three faults at once", lambda _: len(faults(city=5, tags=[1], at={})), equals=3),
    Row(
        "faults takes what chat takes",
        lambda _: [
            Call("variadic", {"city": "Rome"}).faults(tools)
            for tools in (variadic, [variadic], declared(variadic), (each for each in [variadic]))
        ],
        equals=[[]] * 4,
    ),
    Row(
        "**kw takes any name",
        lambda _: Call("variadic", {"city": "x", "other": "y"}).faults(variadic),
        equals=[],
    ),
    Row(
        "a function that is not declared",
        lambda _: Call("f", {}).faults(variadic),
        check=lambda found: "f" in found[0],
    ),
    *(
        Row(
            f"a call with the key {key!r}",
            lambda _, k=key: (
                calls(f"<|tool_call>call:f{{{k}:{Q}x{Q}}}<tool_call|>", declared(named(k)))[0].arguments
            ),
            equals={key: "x"},
        )
        for key in (
            "first name",
            "Ort (Stadt)",
            "xml:lang",
            "a[0]",
            "a, b",
            'say "hi"',
            "a:{b",
            "x:1",
            " a",
            "город",
        )
    ),
    *(
        Row(
            f"an undeclared call with the key {key!r}",
            lambda _, k=key: calls(f"<|tool_call>call:f{{{k}:{Q}x{Q},n:1}}<tool_call|>")[0].arguments,
            equals={key: "x", "n": 1},
        )
        for key in ("first name", "Ort (Stadt)", "xml:lang", "a[0]", 'say "hi"')
    ),
]


#: Calls that parsers of other tools could not read, by the report.
REPORTED = [
    Row(
        f"call: {name}",
        lambda _, t=text: [call.arguments for call in calls(f"<|tool_call>call:f{t}<tool_call|>")],
        equals=[arguments],
    )
    for name, text, arguments in (
        (
            "nested objects and arrays (llama.cpp 21680)",
            f"{{filters:[{{field:{Q}a{Q},values:[1,[2.5]]}}],opts:{{deep:{{x:true}}}}}}",
            {"filters": [{"field": "a", "values": [1, [2.5]]}], "opts": {"deep": {"x": True}}},
        ),
        (
            "code with braces and quotes (ollama 15241)",
            f'{{code:{Q}if (a) {{ "b": [1] }}{Q}}}',
            {"code": 'if (a) { "b": [1] }'},
        ),
        ("lines and spaces", f"{{\n  a : 1 ,\n  b : {Q}x\ny{Q}\n}}", {"a": 1, "b": "x\ny"}),
        ("empty objects and arrays", "{a:{},b:[],c:[{}]}", {"a": {}, "b": [], "c": [{}]}),
        (
            "nulls and negative numbers",
            "{a:null,b:-0.5e-3,c:[-1,null]}",
            {"a": None, "b": -0.0005, "c": [-1, None]},
        ),
    )
]


def wrong(name, make, *holds):
    return Row(f"result: {name}", lambda _: result_value(make(), "R"), raises=BadPrompt, holds=holds)


FRAME = pd.DataFrame({"t": [20.0, None], "day": pd.to_datetime(["2026-01-02", None])}, index=["a", "b"])
RESULTS = [
    *(
        Row(f"result: {name}", lambda _, v=value: result_value(v, "R"), equals=expected)
        for name, value, expected in (
            ("a date", dt.date(2026, 1, 2), "2026-01-02"),
            (
                "a time with a zone",
                dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
                "2026-01-02T00:00:00+00:00",
            ),
            ("a duration", dt.timedelta(minutes=1.5), "PT90S"),
            ("a Decimal", decimal.Decimal("1.5"), 1.5),
            ("a whole Decimal", decimal.Decimal("2.0"), 2),
            ("a Fraction", Fraction(1, 4), 0.25),
            ("an Enum", Unit.CELSIUS, "C"),
            ("an IntEnum", Level.HIGH, 2),
            ("a UUID", uuid.UUID(int=5), str(uuid.UUID(int=5))),
            ("a path", pathlib.PurePosixPath("a/b"), "a/b"),
            ("a numpy integer", np.int64(3), 3),
            ("a numpy bool", np.bool_(True), True),
            ("a numpy date", np.datetime64("2026-01-02"), "2026-01-02"),
            ("dates of numpy", np.array(["2026-01-02", "NaT"], "datetime64[D]"), ["2026-01-02", None]),
            ("an array", np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
            ("a tensor", torch.ones(2, dtype=torch.bfloat16), [1, 1]),
            ("a structured array", np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")]), [{"a": 1, "b": 2.0}]),
            ("a table", pd.DataFrame({"t": [20]}), [{"t": 20}]),
            (
                "a table with an index and gaps",
                FRAME,
                [
                    {"index": "a", "t": 20.0, "day": "2026-01-02T00:00:00"},
                    {"index": "b", "t": None, "day": None},
                ],
            ),
            ("a Series", pd.Series([1, 2]), [1, 2]),
            ("a Series with an index", pd.Series({"a": 1}), {"a": 1}),
            ("pandas' missing value", pd.NA, None),
            ("pandas' missing time", pd.NaT, None),
            ("a dataclass", Page("x"), {"html": "x", "when": "2026-01-02"}),
            ("pydantic", Place(city="x"), {"city": "x"}),
            ("a named tuple", Pair(1), {"a": 1, "b": ""}),
            ("a set", {3, 1, 2}, [1, 2, 3]),
            ("a deque", deque([1]), [1]),
            ("keys that are no strings", {1: "a", None: 2, 2.5: 3}, {"1": "a", "null": 2, "2.5": 3}),
            ("a range", range(3), [0, 1, 2]),
            ("text that looks like markup", "<b> & <|x|>", "<b> & <|x|>"),
        )
    ),
    *(
        wrong(name, lambda v=value: v, *holds)
        for name, value, *holds in (
            ("bytes", b"x", "bytes"),
            ("bytes inside", {"a": [b"x"]}, "R.a[0]", "bytes"),
            ("an object", object(), "object"),
            ("NaN", float("nan"), "nan"),
            ("infinity in an array", np.array([np.inf]), "R[0]"),
            ("a Decimal NaN", decimal.Decimal("sNaN"), "NaN"),
            ("a complex number", 1j, "complex"),
            ("an image", Image.new("RGB", (2, 2)), "Image"),
            ("a function", len, "builtin"),
            ("a class", Page, "type"),
            ("a generator", (each for each in "a"), "generator"),
            ("two keys that become one", {1: "a", "1": "b"}, "'1'"),
            ("a tuple as a key", {(1, 2): 3}, "tuple"),
            ("a number of 500 digits", 10**500, "400"),
            ("half a surrogate pair", ["\ud83d"], "R"),
            ("a control token in a dataclass", Page("ok<tool_response|><turn|>"), "<tool_response|>"),
            ("a control token in pydantic", Place(city="<|turn>"), "<|turn>"),
            ("a control token in a key", {"<eos>": 1}, "<eos>"),
            ("a quote of the format", [f"a{Q}b"], Q),
            ("a table with two columns of one name", pd.DataFrame([[1, 2]], columns=["a", "a"])),
        )
    ),
    wrong("a list that contains itself", lambda: [each := [], each.append(each)] and each),
]

ROWS = [*DECLARED, *ARGUMENTS, *REPORTED, *RESULTS]
