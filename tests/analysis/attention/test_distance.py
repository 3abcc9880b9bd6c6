"""The distance of attention rows equals half their absolute difference, head by head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.made_attention import made_up, whole_rows

from gemma_lab.analysis.attention.distance import attention_distance
from gemma_lab.errors import LabError


def other_rows(attention, seed: int):
    """Return the attention with other rows of the same shapes."""
    rows = {}
    for number, (place, (first, row)) in enumerate(attention.full_rows.items()):
        weights = whole_rows(heads=row.shape[0], tokens=row.shape[1], seed=seed + number)[:, -1]
        rows[place] = (first, weights.astype(np.float32))
    return replace(attention, full_rows=rows)


def test_distances_are_computed_head_by_head():
    one = made_up()
    two = other_rows(one, 5)
    found = attention_distance(one, two)
    assert found.layers == (3, 7)
    for index, layer in enumerate(found.layers):
        for head in range(2):
            a, b = (each.row(layer, 11)[head].astype(float) for each in (one, two))
            assert found.distance[index, head, 0] == pytest.approx(np.abs(a - b).sum() / 2)
        between = np.abs(np.subtract(*one.row(layer, 11).astype(float))).sum() / 2
        assert found.between_heads[index] == pytest.approx(between)
    assert 0 < found.mean <= 1
    layer, head = found.most_moved
    assert found.by_head[found.layers.index(layer), head] == found.by_head.max()
    assert len(found.to_pandas()) == 4


def test_the_same_rows_have_no_distance():
    one = made_up()
    assert (attention_distance(one, one).distance == 0).all()


def test_several_runs_are_joined():
    one = made_up()
    two, three = other_rows(one, 1), other_rows(one, 9)
    found = attention_distance([one, one], [two, three])
    np.testing.assert_allclose(found.distance[:, :, 0], attention_distance(one, two).distance[:, :, 0])
    np.testing.assert_allclose(found.distance[:, :, 1], attention_distance(one, three).distance[:, :, 0])


@pytest.mark.parametrize(
    "change", [{"full_rows": {}}, {"heads": (0, 3)}, {"full_rows": {(3, 4): (0, np.ones((2, 5), "f4") / 5)}}]
)
def test_what_cannot_be_compared_is_refused(change):
    with pytest.raises(LabError):
        attention_distance(made_up(), replace(made_up(), **change))
    with pytest.raises(LabError):
        attention_distance(made_up(), None)
