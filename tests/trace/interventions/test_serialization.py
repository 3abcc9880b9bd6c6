"""Every kind of edit goes to plain values and a file and comes back the same."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gemma_lab import Activations, AttentionKnockout, Direction, Edit, Patch, Steering
from gemma_lab.errors import BadEdit
from gemma_lab.trace.interventions.serialization import KINDS, from_plain, read, to_plain, write

SOURCE = Activations((1,), (7, 8), np.random.default_rng(0).normal(size=(1, 2, 4)), "mini")
WHOLE = Edit(
    ablate_experts={4: [1]},
    boost_experts={"all": {2: 1.5}},
    force_experts=[3],
    ablate_heads={5: [0, 3]},
    knock_out_attention=AttentionKnockout(queries=(9, None), keys=(0, 4), layers=[2]),
    patch=Patch(SOURCE, positions=[3, 1]),
    steer=Steering(Direction("a", "random", (2,), np.ones((1, 3), np.float32)), 2, tokens=(1, None)),
)


def test_all_kinds_go_there_and_back(tmp_path):
    assert tuple(to_plain(WHOLE)) == KINDS
    assert Edit(**from_plain(json.loads(json.dumps(to_plain(WHOLE))))) == WHOLE
    path = write(WHOLE, tmp_path / "edit.json")
    assert Edit(**read(path)) == WHOLE
    np.testing.assert_array_equal(Edit.open(path).patch[0].source.values, SOURCE.values)


@pytest.mark.parametrize(
    "data",
    [
        {"ablate_heads": [1]},
        {"ablate_heads": {"5": 1}},
        {"ablate_heads": {"05": [1]}},
        {"knock_out_attention": {}},
        {"knock_out_attention": [3]},
        {"knock_out_attention": [{"queries": [0, 1]}]},
        {"knock_out_attention": [{"queries": [0, 1], "keys": [0, 1, 2]}]},
        {"patch": {}},
        {"patch": [{}]},
        {"steer": [{}]},
        {"other": []},
        [],
        "x",
    ],
    ids=repr,
)
def test_anything_else_is_refused(data):
    with pytest.raises(BadEdit) as caught:
        Edit.from_dict(data)
    assert caught.value.hint
