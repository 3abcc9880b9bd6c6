"""Patterns of schemas: those of ``re``, with an end."""

from __future__ import annotations

import re

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from gemma_lab.errors import BadSchema
from gemma_lab.models.chat.argument_checks import violations
from gemma_lab.models.grammar import validator as checks
from gemma_lab.models.grammar.patterns import engine_pattern
from gemma_lab.models.grammar.schema import first_fault
from gemma_lab.models.grammar.validator import validator

HOSTILE, TEXT = r"^(\w|a|[a-z])*$", "a" * 60 + "!"


@given(
    st.sampled_from(["^a+$", "b", "^[a-c]{2,3}", r"^\d+-\w*$", "(?i)AB", "^$", r"\bab\b", "a|^b", "é"]),
    st.text("abcé01- ", max_size=6) | st.integers(),
)
def test_a_value_matches_as_it_does_without_a_limit(pattern, value):
    matches = not isinstance(value, str) or re.search(pattern, value) is not None
    assert validator({"pattern": pattern}).is_valid(value) == matches


@pytest.mark.parametrize("values", [[TEXT], ["ok", TEXT]])
def test_a_pattern_that_would_run_for_years_is_refused(monkeypatch, values):
    monkeypatch.setattr(checks, "TIME_LIMIT", 0.05)
    word = {"type": "string", "pattern": HOSTILE}
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": word}}}
    (problem,) = violations({"x": values}, schema)
    assert f"x[{len(values) - 1}]" in problem
    assert "0.05 s" in problem
    assert "0.05 s" in first_fault({"x": values}, schema)
    assert list(violations({"x": ["ok"]}, schema)) == []


def test_all_patterns_of_a_value_share_the_time(monkeypatch):
    monkeypatch.setattr(checks, "TIME_LIMIT", 0.05)
    given, real = [], regex.search
    monkeypatch.setattr(
        regex, "search", lambda *args, timeout: given.append(timeout) or real(*args, timeout=timeout)
    )
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "string"}}}}
    schema["properties"]["x"]["items"]["pattern"] = HOSTILE
    assert len(list(violations({"x": [TEXT] * 20}, schema))) == 20
    assert sum(given) < 0.05 + 20 * 0.002


def test_patterns_of_names_share_the_time_too(monkeypatch):
    monkeypatch.setattr(checks, "TIME_LIMIT", 0.05)
    schema = {"type": "object", "patternProperties": {HOSTILE: False}, "additionalProperties": False}
    assert "0.05 s" in first_fault({TEXT: 1}, schema)
    assert first_fault({"ok": 1}, {"patternProperties": {"^o": {"type": "string"}}}) is not None
    assert first_fault({"ok": 1, "x": 2}, {"patternProperties": {"^o": {}}, "additionalProperties": False})
    assert first_fault({"ok": 1}, {"patternProperties": {"^o": {}}, "additionalProperties": False}) is None


@pytest.mark.parametrize(("number", "of"), [(0.3, 0.1), (1.15, 0.01), (-7.5, 2.5), (1e5, 10), (6, 3.0)])
def test_multiples_are_decimal(number, of):
    assert first_fault(number, {"multipleOf": of}) is None
    assert first_fault(number + of / 2, {"multipleOf": of}) is not None


def test_nothing_is_fetched(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text('{"type": "string"}', encoding="utf-8")
    assert "cannot be read" in first_fault("x", {"$ref": path.as_uri()})


@given(
    st.sampled_from([r"\D", r"\W", r"[^\d]", r"[^\w]", r"[\W]", r"[\D]", r"[^\d\w]", r"[^[&~]", "[[&~]"]),
    st.characters(),
)
def test_what_the_engine_s_pattern_matches_python_s_does_too(pattern, character):
    """`regex` knows the classes by which the engine's patterns are narrowed."""
    made = engine_pattern(pattern).replace(r"\x{200c}\x{200d}", "\u200c\u200d")
    if regex.fullmatch(made, character, flags=regex.VERSION1):
        assert re.fullmatch(pattern, character)


@pytest.mark.parametrize("pattern", ["a", "^[a-z]+$", r"\d{3}", r"a\[b", "[]a]", "(a|b)*", r"[\d.-]+"])
def test_ordinary_patterns_stay_as_they_are(pattern):
    assert engine_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["[[:alpha:]]", "[a--b]", "(?x)a b", "(?ix)a"])
def test_patterns_of_several_readings_are_refused(pattern):
    with pytest.raises(BadSchema):
        engine_pattern(pattern)
