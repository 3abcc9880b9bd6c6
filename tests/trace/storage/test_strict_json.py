"""JSON with nothing beyond the standard and nothing said twice."""

from __future__ import annotations

import pytest

from gemma_lab.trace.storage.strict_json import strict_json


def test_plain_json_is_read():
    assert strict_json('{"a": [1, "é", null]}'.encode()) == {"a": [1, "é", None]}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1, "a": 1}', "a name is given twice"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "utf-8"),
        (b"{", "Expecting"),
    ],
)
def test_anything_else_is_a_value_error_that_says_why(data, why):
    with pytest.raises(ValueError, match=why):
        strict_json(data)
