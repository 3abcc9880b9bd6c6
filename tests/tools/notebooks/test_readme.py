"""The README's tables are written by a command, and are in step."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from tools.notebooks.checkout import checkout
from tools.notebooks.readme import card_table, replaced, written


def test_a_region_is_replaced_and_the_rest_is_kept():
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n<!-- y -->\n<!-- /y -->\n"
    assert replaced(text, "x", r"new \1") == text.replace("old", r"new \1")
    assert replaced(replaced(text, "y", "1"), "y", "2").endswith("<!-- y -->\n2\n<!-- /y -->\n")


def test_a_missing_or_doubled_region_is_an_error():
    with pytest.raises(LabError, match="0 regions named 'x'"):
        replaced("no marks", "x", "")
    with pytest.raises(LabError, match="2 regions named 'x'"):
        replaced("<!-- x -->\n<!-- /x -->\n" * 2, "x", "")


def test_a_card_becomes_a_table():
    skill = {
        "skill": "a | b",
        "questions": 1797,
        "accuracy": 0.9123,
        "interval_95": [0.9, 0.93],
        "target": 0.9,
    }
    row = r"| a \| b | 1,797 | 91.2% | 90.0% to 93.0% | 90% |"
    assert card_table({"skills": [skill]}).splitlines()[2:] == [row]
    (missed,) = card_table({"skills": [skill | {"target": 0.95}]}).splitlines()[2:]
    assert missed.endswith("| 95%, **missed** |")
    (reported,) = card_table({"skills": [skill | {"target": None}]}).splitlines()[2:]
    assert reported.endswith("| reported |")


def test_groups_that_are_each_meant_to_reach_a_target_have_rows():
    skill = {
        "skill": "large digits",
        "questions": 20,
        "accuracy": 0.9,
        "interval_95": [0.7, 0.97],
        "target": 0.9,
        "groups": {"140": {"right": 10, "questions": 10}, "560": {"right": 8, "questions": 10}},
    }
    assert len(card_table({"skills": [skill]}).splitlines()) == 3
    rows = card_table({"skills": [skill | {"target_of_each_group": True}]}).splitlines()[2:]
    assert rows[0] == "| large digits | 20 | 90.0% | 70.0% to 97.0% | 90% |"
    assert rows[1].startswith("| large digits: 140 | 10 | 100.0% |")
    assert rows[2] == "| large digits: 560 | 10 | 80.0% | 49.0% to 94.3% | 90%, **missed** |"


def test_the_readme_is_in_step():
    place = checkout()
    text = (place.folder / "README.md").read_text(encoding="utf-8")
    assert written(place) == text, "run `python -m tools.notebooks links`"
    assert all(f"](notebooks/{path.name})" in text for path in place.notebooks)
