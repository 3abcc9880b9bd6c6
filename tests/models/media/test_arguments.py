"""Numbers of any library are taken; what is not a number of the right range names the argument."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from gemma_lab.errors import BadMedia
from gemma_lab.models.media.arguments import as_number, check_frames, check_rate, check_span, split_rate


@pytest.mark.parametrize("value", [2, 2.0, np.int8(2), np.float16(2), np.array(2), Fraction(2)])
def test_numbers(value):
    assert as_number(value) == 2
    assert check_rate("fps", value, minimum=1, maximum=3, example="2") == 2
    assert check_span(value, None) == (2.0, None)


def test_a_tensor_without_dimensions_is_a_number():
    torch = pytest.importorskip("torch")
    assert as_number(torch.tensor(2.5)) == 2.5


@pytest.mark.parametrize(
    "value", [True, np.True_, "2", None, [2], np.array([2]), float("nan"), 10**400, Decimal(2), 1j]
)
def test_what_is_not_a_number(value):
    assert as_number(value) is None
    with pytest.raises(BadMedia, match="fps="):
        check_rate("fps", value, minimum=1, maximum=3, example="2")


@pytest.mark.parametrize(
    ("start", "stop"), [(-1, None), ("1", None), (2, 2), (3, 1), (None, 0), (True, None)]
)
def test_spans_that_are_none(start, stop):
    with pytest.raises(BadMedia):
        check_span(start, stop)


@pytest.mark.parametrize("frames", [np.int64(3), np.uint8(3), 3])
def test_frames(frames):
    assert check_frames(frames, 10) == 3
    assert check_frames(None, 10) is None
    with pytest.raises(BadMedia, match="to 2"):
        check_frames(frames, 2)


def test_a_pair_is_split_where_one_is_a_number():
    data = np.zeros(4)
    for rate in (5, 5.0, np.int32(5), np.array(5)):
        assert split_rate((data, rate)) == (data, rate) or split_rate((data, rate))[1] is rate
        assert split_rate((rate, data))[1] is rate
    for neither in ((data, data), (1, 2), [data, 5], data, (data, 5, 6)):
        assert split_rate(neither)[1] is None
