"""Declarations of functions: an argument that passes the declared schema can be passed to the function."""

from __future__ import annotations

import enum
import inspect
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.docstrings import described_arguments, summary
from gemma_lab.models.chat.function_schema import declaration, declares
from gemma_lab.models.chat.tools import Call, declared


class Unit(enum.Enum):
    CELSIUS = "C"
    FAHRENHEIT = "F"


@dataclass
class Place:
    city: str
    tags: list[str] | None = None


class Box(TypedDict):
    width: float


def forecast(
    place: Place,
    days: Annotated[int, "how many"],
    unit: Unit = Unit.CELSIUS,
    mode: Literal["short", "long"] = "short",
    boxes: list[Box] | None = None,
    **more: str,
):
    """Weather at a place."""
    raise AssertionError


VALUES = st.sampled_from(
    [None, True, 1, 2.0, 1.5, "C", "short", "x", [], ["a"], {}, {"city": "x"}, [{"width": 1}]]
)
GOOD = {
    "place": [{"city": "x"}, {"city": "x", "tags": ["a"]}, {"city": "x", "tags": None}],
    "days": [1, 2.0],
    "unit": ["C"],
    "mode": ["short"],
    "boxes": [None, [], [{"width": 1}]],
}


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), VALUES))
def test_faults_are_those_of_the_annotations(arguments):
    faults = Call("forecast", arguments).faults(forecast)
    right = all(name not in GOOD or value in GOOD[name] for name, value in arguments.items())
    is_bool = any(arguments.get(name) is True for name in ("days", "unit", "mode"))  # True equals 1 in Python
    assert (not faults) == (right and not is_bool and {"place", "days"} <= set(arguments))
    if not faults:
        inspect.signature(forecast).bind(**arguments)


def test_names_descriptions_and_requirements():
    function = declared(forecast)[0]["function"]
    assert (function["name"], function["description"]) == ("forecast", "Weather at a place")
    assert function["parameters"]["required"] == ["place", "days"]
    assert function["parameters"]["properties"]["days"]["description"] == "how many"
    assert function["parameters"]["properties"]["place"]["required"] == ["city"]


def test_what_declares_arguments():
    assert all(map(declares, (forecast, Place, Box, [].append)))
    assert not any(map(declares, (Unit, int, "f", {}, object())))
    with pytest.raises(BadPrompt):
        declaration(lambda x: x)


def test_descriptions_of_docstrings():
    assert summary("Do it\n    again.\n\n    More.") == "Do it again"
    assert summary("Do it.\n\n    Args:\n        a: b") == "Do it"
    section = (
        "    Args:\n        a (int): One,\n            two.\n        b: Three.\n\n    Returns:\n        c"
    )
    google = f"Do.\n\n{section}"
    assert described_arguments(google) == {"a": "One, two.", "b": "Three."}
    section = "    Parameters\n    ----------\n    a : int\n        One.\n\n    Returns\n    -------\n    c\n"
    numpy = f"Do.\n\n{section}"
    assert described_arguments(numpy) == {"a": "One."}
    assert described_arguments("Do.\n\n    :param int a: One.\n    :returns: no") == {"a": "One."}
    assert described_arguments("Nothing about arguments.") == {}
