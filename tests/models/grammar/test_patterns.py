"""Patterns of schemas: those of ``re``, with an end."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gemma_lab.models.chat.argument_checks import violations
from gemma_lab.models.grammar import patterns
from gemma_lab.models.grammar.patterns import with_time_limit
from gemma_lab.models.grammar.schema import first_fault

HOSTILE, TEXT = r"^(\w|a|[a-z])*$", "a" * 60 + "!"


@given(
    st.sampled_from(["^a+$", "b", "^[a-c]{2,3}", r"^\d+-\w*$", "(?i)AB", "^$", r"\bab\b", "a|^b", "é"]),
    st.text("abcé01- ", max_size=6) | st.integers(),
)
def test_a_value_matches_as_it_does_without_a_limit(pattern, value):
    matches = not isinstance(value, str) or re.search(pattern, value) is not None
    assert with_time_limit(Draft202012Validator)({"pattern": pattern}).is_valid(value) == matches


@pytest.mark.parametrize("values", [[TEXT], ["ok", TEXT]])
def test_a_pattern_that_would_run_for_years_is_refused(monkeypatch, values):
    monkeypatch.setattr(patterns, "TIME_LIMIT", 0.05)
    word = {"type": "string", "pattern": HOSTILE}
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": word}}}
    (problem,) = violations({"x": values}, schema)
    assert f"x[{len(values) - 1}]" in problem
    assert "0.05 s" in problem
    assert "0.05 s" in first_fault({"x": values}, schema)
    assert list(violations({"x": ["ok"]}, schema)) == []


def test_all_patterns_of_a_value_share_the_time(monkeypatch):
    monkeypatch.setattr(patterns, "TIME_LIMIT", 0.05)
    given, real = [], regex.search
    monkeypatch.setattr(
        regex, "search", lambda *args, timeout: given.append(timeout) or real(*args, timeout=timeout)
    )
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}
    schema["properties"]["x"]["items"]["pattern"] = HOSTILE
    assert len(list(violations({"x": [TEXT] * 20}, schema))) == 20
    assert sum(given) < 0.05 + 20 * 0.002
