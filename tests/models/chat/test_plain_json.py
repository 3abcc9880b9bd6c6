"""Plain JSON: values of JSON pass unchanged, everything else has one plain form or is refused."""

from __future__ import annotations

import json
from dataclasses import make_dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.plain_json import MAX_DEPTH, MAX_VALUES, as_mapping, plain, short

TEXTS = st.text("ab é語{}:,", max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_json_passes_unchanged(value):
    converted = plain(value, "It")
    assert converted == value
    assert json.loads(json.dumps(converted)) == value


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6))
def test_arrays_tuples_and_objects_become_the_same_lists_and_dicts(numbers):
    row = make_dataclass("Row", ["numbers"])
    for value in (tuple(numbers), np.array(numbers), as_numpy(numbers), row(numbers).numbers):
        assert plain(value, "It") == numbers
    assert plain(row(np.array(numbers)), "It") == {"numbers": numbers}


def as_numpy(numbers):
    return [np.int8(number) for number in numbers]


def test_nesting_and_count_are_bounded():
    deep = nested(MAX_DEPTH)
    assert plain(deep, "It") == deep
    for value in (nested(MAX_DEPTH + 1), [0] * MAX_VALUES):
        with pytest.raises(BadPrompt):
            plain(value, "It")


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def test_the_path_of_what_is_refused_is_named():
    with pytest.raises(BadPrompt) as caught:
        plain({"a": [1, {"b": object()}]}, "The result")
    assert "The result.a[1].b" in caught.value.what
    assert "object" in caught.value.what


def test_only_instances_with_fields_are_mappings():
    row = make_dataclass("Row", ["a"])
    assert as_mapping(row(1)) == as_mapping({"a": 1}) == {"a": 1}
    assert as_mapping(row) is as_mapping([1]) is as_mapping("a") is None


def test_a_repr_that_raises_is_replaced():
    class Broken:
        def __repr__(self):
            raise ValueError

    assert "Broken" in short(Broken())
    assert len(short("x" * 1000)) == 80
