"""What a model does not have is named, with what it has."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab import Activations, AttentionKnockout, Edit
from gemma_lab.errors import BadEdit
from gemma_lab.trace.interventions.validation import Anatomy, layer_name, named, ranges

#: Layer 1 has no attention, as in models that mix in linear layers.
DENSE = Anatomy(heads={0: 4, 2: 4, 3: 8}, layers=4, width=16)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit(ablate_experts=[1]), "no experts to edit in m: it is a dense model"),
        (Edit(ablate_heads={1: [0]}), r"Layer 1 of m .* has no attention heads\.\n→ .*: 0, 2 to 3"),
        (Edit(ablate_heads=[4]), r"Head 4 does not exist in layer 0 of m\.\n→ .*0 to 3"),
        (Edit(ablate_heads={3: [6, 8, 9]}), "Each of heads 8, 9 does not exist in layer 3"),
        (
            Edit(knock_out_attention=AttentionKnockout(queries=(1, 2), keys=(0, 1), layers=[1])),
            "Layer 1 of m",
        ),
        (
            Edit(knock_out_attention=AttentionKnockout(queries=(1, 2), keys=(0, 1), heads=[5])),
            "Head 5 does not exist in layer 0",
        ),
        (Edit(patch=Activations((4,), (0,), np.zeros((1, 1, 16)))), r"Layer 4 of m .*\n→ .*0 to 3"),
        (Edit(patch=Activations((1,), (0,), np.zeros((1, 1, 8)))), "width 8, .* 16 wide"),
    ],
)
def test_it_is_named(edit, said):
    with pytest.raises(BadEdit, match=said):
        edit.check(DENSE, model="m")


def test_what_is_there_is_accepted():
    cuts = [
        AttentionKnockout(queries=(1, 2), keys=(0, 1)),
        AttentionKnockout(queries=(1, 2), keys=(0, 1), layers=[3], heads=[7]),
    ]
    patch = Activations((1, 3), (0,), np.zeros((2, 1, 16)))
    Edit(ablate_heads={"all": [3], 3: [7]}, knock_out_attention=cuts, patch=patch).check(DENSE, model="m")


def test_a_model_without_attention_is_told_so():
    with pytest.raises(BadEdit, match="There are no attention heads to edit in the model"):
        Edit(knock_out_attention=AttentionKnockout(queries=(1, 2), keys=(0, 1))).check(
            Anatomy(layers=2, width=8)
        )


def test_in_words():
    assert named("Head", [3]) == "Head 3"
    assert named("Head", range(20)).endswith("10, 11 …")
    assert ranges([5, 0, 1, 2]) == "0 to 2, 5"
    assert (layer_name("all"), layer_name(3)) == ("every layer", "layer 3")
