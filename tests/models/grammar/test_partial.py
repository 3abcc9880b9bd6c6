"""The value of the beginning of a JSON text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_lab.models.grammar.partial import partial_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def begins(before, after):
    """Whether a value has no part that another does not have; None may become anything."""
    if before is None:
        return True
    if isinstance(before, str):
        return isinstance(after, str) and after.startswith(before)
    if isinstance(before, list):
        return isinstance(after, list) and len(before) <= len(after) and all(map(begins, before, after))
    if isinstance(before, dict):
        return before.keys() <= after.keys() and all(begins(before[key], after[key]) for key in before)
    return before == after and type(before) is type(after)


@given(VALUES, st.data(), st.booleans())
def test_the_beginning_of_a_text_has_the_beginning_of_its_value(value, data, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    cut = data.draw(st.integers(0, len(text) - 1))
    assert begins(partial_value(text[:cut]), json.loads(text))


@given(st.dictionaries(st.text(), VALUES) | st.lists(VALUES) | st.text())
def test_a_complete_text_has_its_value(value):
    assert partial_value(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("{", {}), ('{"a', {}), ('{"a":', {}), ('{"a": 12', {}), ('{"a": 12,', {"a": 12}),
        ('{"a": "12', {"a": "12"}), ('["x\\', ["x"]), ('["x\\u00', ["x"]), ('["x\\ud83d', ["x"]),
        ("[1, tru", [1]), ("[1, -", [1]), ("[1, 2.5e", [1]), ("12", None), ("not JSON", None),
        ("[" * 1000, None), ('["\ud800', ["?"]), ('{"a":1}\n', {"a": 1}),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_left_out(text, value):
    assert partial_value(text) == value
