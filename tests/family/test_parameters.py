"""The published counts; that every part equals the real model's is in tests/models/test_skeleton.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gemma_lab.family.architecture import SIZES, get_architecture
from gemma_lab.family.parameters import PARAMETER_GROUPS, count_parameters, matrix_parameters, stored


def test_exact_totals() -> None:
    assert {size: count_parameters(get_architecture(size)).total for size in SIZES} == {
        "E2B": 5_104_297_504,
        "E4B": 7_941_100_832,
        "12B": 11_959_730_176,
        "26B-A4B": 25_805_933_872,
        "31B": 31_273_086_512,
    }


def test_effective_and_active() -> None:
    assert count_parameters(get_architecture("E2B")).effective == 2_279_759_104
    assert count_parameters(get_architecture("26B-A4B")).active == 3_822_530_560
    for size in ("E2B", "E4B", "12B", "31B"):
        parameters = count_parameters(get_architecture(size))
        assert parameters.active == parameters.effective


def test_the_31b_checkpoint_holds_exactly_the_numbers_that_its_listing_says() -> None:
    assert stored(get_architecture("31B")) == 31_273_088_876


def test_the_parts_add_up() -> None:
    for size in SIZES:
        parameters = count_parameters(get_architecture(size))
        assert set(parameters.parts) <= set(PARAMETER_GROUPS)
        assert sum(parameters.parts.values()) == parameters.total == parameters.to_dict()["total"]


def test_an_untied_head_is_counted() -> None:
    shape = get_architecture("31B")
    untied = count_parameters(replace(shape, tied_embeddings=False))
    assert untied.head == shape.vocabulary * shape.hidden
    assert untied.total - count_parameters(shape).total == untied.head


def test_a_text_only_model_has_no_towers() -> None:
    parameters = count_parameters(replace(get_architecture("E2B"), vision=None, audio=None))
    assert parameters.total == parameters.text == count_parameters(get_architecture("E2B")).text


@pytest.mark.parametrize("size", SIZES)
def test_matrices_are_most_of_the_decoder(size: str) -> None:
    parameters = count_parameters(get_architecture(size))
    rest = parameters.embedding + parameters.ple_table + parameters.ple + parameters.router + parameters.norms
    assert matrix_parameters(get_architecture(size)) == parameters.text - rest


def test_the_repr_has_all_four_sums() -> None:
    assert repr(count_parameters(get_architecture("26B-A4B"))) == (
        "Parameters(26B-A4B: 25,805,933,872 in all, 25,233,141,760 in the decoder, "
        "25,233,141,760 effective, 3,822,530,560 active)"
    )
