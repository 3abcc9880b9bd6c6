"""Activations and patches as values: to check, narrow, keep in a file and compare."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from gemma_lab import Activations, Edit, Patch
from gemma_lab.errors import BadEdit
from gemma_lab.trace.records.activations import MAX_VALUES

VALUES = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
SOURCE = Activations((1, 4), (7, 8, 9), VALUES, "mini")


def test_a_part_of_them():
    part = SOURCE.at(layers=[4], positions=[9, 7])
    assert (part.layers, part.positions, part.width) == ((4,), (9, 7), 4)
    np.testing.assert_array_equal(part.values, VALUES[1:, [2, 0]])
    with pytest.raises(BadEdit, match=r"have no layer 2\.\n→ They have \[1, 4\]"):
        SOURCE.at(layers=[2])
    with pytest.raises(BadEdit, match="have no position 0"):
        SOURCE.at(positions=[0])


def test_they_do_not_change():
    with pytest.raises(ValueError, match="read-only"):
        SOURCE.values[0] = 1
    assert repr(SOURCE) == "Activations(mini: 2 layers × 3 positions × 4)"


def test_they_are_equal_by_what_they_hold():
    assert Activations((1, 4), (7, 8, 9), VALUES.copy(), "mini") == SOURCE
    assert Activations((1, 4), (7, 8, 9), VALUES + 1, "mini") != SOURCE
    assert len({SOURCE, copy.deepcopy(SOURCE)}) == 1


@pytest.mark.parametrize(
    ("layers", "positions", "values"),
    [
        ((1,), (7, 8, 9), VALUES), ((1, 1), (7, 8, 9), VALUES), ((1, 4), (7, 7, 9), VALUES),
        ((), (), VALUES[:0, :0]), ((1, 4), (7, 8, 9), VALUES * np.nan), ((1, 4), (7, 8, 9), VALUES[0]),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(layers, positions, values):
    with pytest.raises(BadEdit):
        Activations(layers, positions, values)


def test_a_patch_goes_to_its_own_places_or_others():
    assert Patch(SOURCE).positions == (7, 8, 9)
    moved = Patch(SOURCE, layers=[4], positions=[0, 2, 1])
    assert (moved.layers, moved.positions) == ((4,), (0, 2, 1))
    assert repr(moved) == "Patch(Activations(mini: 1 layers × 3 positions × 4), positions=[0, 2, 1])"
    for wrong in ([1, 2], [1, 1, 2], [-1, 0, 1], "abc", 3):
        with pytest.raises(BadEdit):
            Patch(SOURCE, positions=wrong)
    with pytest.raises(BadEdit, match="takes activations"):
        Patch(VALUES)


def test_an_edit_keeps_patches_in_their_order(tmp_path):
    one, two = Patch(SOURCE), Patch(SOURCE, positions=[0, 1, 2])
    edit = Edit(patch=[one, two])
    assert edit | Edit(patch=one) == Edit(patch=[two, one]) != edit
    assert edit | edit == edit
    assert Edit(patch=SOURCE) == Edit(patch=one)
    assert Edit.open(edit.save(tmp_path / "edit.json")) == edit
    assert pickle.loads(pickle.dumps(edit)) == edit
    assert Edit.from_dict(json.loads(json.dumps(edit.to_dict()))) == edit
    assert edit.layers == (1, 4)
    assert "patch=" in repr(edit) or "patch: 2" in repr(edit)
    assert len({edit, Edit(patch=one)}) == 2
    assert edit


@pytest.mark.parametrize("given", [3, "x", [3], {"source": 1}, None])
def test_an_edit_takes_nothing_else(given):
    with pytest.raises(BadEdit, match="patch"):
        Edit(patch=given)


def test_an_edit_holds_so_much():
    large = Activations((0,), tuple(range(1025)), np.zeros((1, 1025, MAX_VALUES // 1024), np.float32))
    with pytest.raises(BadEdit, match="an edit holds at most 4,194,304"):
        Edit(patch=large)


@pytest.mark.parametrize(
    "change",
    [
        {"values": "!!"}, {"values": 3}, {"values": "AAAA"}, {"width": 5}, {"width": -1}, {"layers": "14"},
        {"positions": [7, 8, 8]}, {"model": 3}, {"other": 1}, {"layers": [1, 99_999_999_999]},
    ],
    ids=repr,
)  # fmt: skip
def test_a_file_that_was_tampered_with_is_refused(change):
    data = Patch(SOURCE).to_dict()
    data["source"] |= change
    with pytest.raises(BadEdit):
        Edit.from_dict({"patch": [data]})


@pytest.mark.parametrize("data", [[], {}, [1], [{}], [{"source": {}, "positions": [1]}], {"source": 1}])
def test_values_that_are_no_patch_are_refused(data):
    if data == []:
        assert Edit.from_dict({"patch": data}) == Edit()
        return
    with pytest.raises(BadEdit):
        Edit.from_dict({"patch": data})


def test_the_callers_array_stays_writable_and_apart():
    values = np.ones((1, 2, 3), np.float32)
    made = Activations((0,), (0, 1), values)
    values[:] = 7
    assert (made.values == 1).all()
    assert not made.values.flags.writeable
