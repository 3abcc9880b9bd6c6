"""Names of types in error messages, and numbers of any type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.checks import as_path, members, real_number, type_name, whole_number
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


@pytest.mark.parametrize("value", [None, 3, b"x", [1], "", object()])
def test_what_is_no_path_is_refused_with_a_call_that_takes_one(value):
    with pytest.raises(LabError, match=r"^folder is .*, not a path") as caught:
        as_path("folder", value, example='gl.open_survey("survey")')
    assert caught.value.hint == 'gl.open_survey("survey")'


def test_a_path_is_taken_in_any_form_and_its_home_folder_expanded(tmp_path):
    assert as_path("path", str(tmp_path), example="") == tmp_path == as_path("path", tmp_path, example="")
    assert as_path("path", "~/x", example="") == Path.home() / "x"


@pytest.mark.parametrize("value", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), iter([1, 2])])
def test_members_of_any_iterable_are_a_tuple(value):
    assert members("layers", value, example="layers=[0]") == (1, 2)


@pytest.mark.parametrize("value", [None, 3, "12", b"12"])
def test_what_has_no_members_is_refused_and_text_is_not_taken_apart(value):
    with pytest.raises(LabError, match=r"^layers=.* is not a list") as caught:
        members("layers", value, example="layers=[0]")
    assert caught.value.hint == "For example layers=[0]."


@pytest.mark.parametrize("value", [3, 2.5, object(), {"a": 1}.keys])
@pytest.mark.parametrize(
    "call",
    [
        gl.open_trace, gl.open_survey, gl.open_causal_map, gl.data_path, gl.doctor, gl.AttentionRequest,
        gl.LogitLensRequest, gl.Request, lambda value: gl.LogitLensRequest(targets=value),
        lambda value: gl.AttentionRequest(rows=value), lambda value: gl.Request([value]),
        lambda value: gl.survey(["Hi"], value, out="nowhere"),
    ],
)  # fmt: skip
def test_arguments_of_another_type_are_an_error_of_the_lab(call, value):
    with pytest.raises(LabError) as caught:
        call(value)
    assert caught.value.hint


def test_a_survey_without_a_model_and_a_measurement_without_a_function_are_refused(tmp_path):
    with pytest.raises(LabError, match="A survey needs a model"):
        gl.survey(["Hi"], None, out=tmp_path / "survey")
    assert not (tmp_path / "survey").exists()
    with pytest.raises(LabError, match="measure takes a function and its arguments, not a str"):
        gl.measure("gl.load")
