"""Names of types in error messages, and numbers of any type."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.checks import real_number, type_name, whole_number
from gemma_lab.errors import LabError


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "None"),
        (5, "an int"),
        ({}, "a dict"),
        (np.float64(1), "a float64"),
        ("", "a str"),
        (1j, "a complex"),
    ],
)
def test_a_type_has_its_article(value, words):
    assert type_name(value) == words


def test_numbers_of_numpy_are_taken_and_bools_are_not():
    assert whole_number("n", np.int32(3), minimum=1) == 3
    assert real_number("x", np.float32(0.5), minimum=0, maximum=1) == 0.5
    for value in (True, "3", None, 2.5):
        with pytest.raises(LabError, match="n="):
            whole_number("n", value, minimum=1)
    for value in (True, "3", None, float("nan"), 2):
        with pytest.raises(LabError, match="x="):
            real_number("x", value, minimum=0, maximum=1)
