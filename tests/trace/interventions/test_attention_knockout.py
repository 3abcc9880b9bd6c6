"""Cuts as values: what they accept, how they print, and what a file may hold."""

from __future__ import annotations

import pytest

from gemma_lab import AttentionKnockout, Edit
from gemma_lab.errors import BadEdit
from gemma_lab.models.tokens.table import Run
from gemma_lab.trace.interventions.attention_knockout import format_span

FULL = AttentionKnockout(queries=(30, None), keys=(4, 20), layers=[5, 2], heads=[1])


def test_one_cut_has_one_form():
    run = Run(4, 20, "image × 16", "image", "user")
    for keys in (slice(4, 20), range(4, 20), run, [4, 20]):
        assert AttentionKnockout(queries=slice(30, None), keys=keys, layers=(2, 5, 5), heads={1}) == FULL
    assert AttentionKnockout(queries=slice(None, 3), keys=(0, 1)).queries == (0, 3)
    assert hash(FULL) == hash(AttentionKnockout.from_dict(FULL.to_dict()))


def test_its_repr_makes_it_again():
    assert repr(FULL) == "AttentionKnockout(queries=(30, None), keys=(4, 20), layers=(2, 5), heads=(1,))"
    assert eval(repr(FULL)) == FULL
    assert (
        repr(AttentionKnockout(queries=(3, 4), keys=(0, 3)))
        == "AttentionKnockout(queries=(3, 4), keys=(0, 3))"
    )


def test_where_it_holds():
    assert FULL.applies_to(5)
    assert not FULL.applies_to(0)
    assert AttentionKnockout(queries=(1, 2), keys=(0, 1)).applies_to(0)


@pytest.mark.parametrize(
    "given",
    [
        {"queries": (3, 3)}, {"queries": (5, 3)}, {"queries": 3}, {"queries": (1, 2, 3)}, {"queries": "ab"},
        {"queries": (-1, 3)}, {"queries": (0.0, 3)}, {"queries": (True, 3)}, {"queries": range(0, 9, 2)},
        {"queries": (1 << 40, None)}, {"layers": []}, {"layers": 5}, {"layers": "5"}, {"layers": [-1]},
        {"heads": [1.0]}, {"heads": {0: 1}}, {"heads": []},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_cut_is_refused_with_an_example(given):
    with pytest.raises(BadEdit, match="→"):
        AttentionKnockout(**({"queries": (3, 5), "keys": (0, 2)} | given))


def test_an_edit_keeps_each_cut_once_in_one_order(tmp_path):
    other = AttentionKnockout(queries=(3, 4), keys=(0, 3))
    edit = Edit(knock_out_attention=[other, FULL, other])
    assert (
        edit
        == Edit(knock_out_attention=[FULL, other])
        == Edit(knock_out_attention=FULL) | Edit(knock_out_attention=other)
    )
    assert edit.layers == (2, 5, "all")
    assert Edit.open(edit.save(tmp_path / "edit.json")) == edit
    assert eval(repr(edit)) == edit
    assert edit
    assert len({edit, Edit(knock_out_attention=FULL)}) == 2


@pytest.mark.parametrize("given", [3, "x", [3], {"queries": (3, 4)}, None])
def test_an_edit_takes_nothing_else(given):
    with pytest.raises(BadEdit, match="knock_out_attention"):
        Edit(knock_out_attention=given)


@pytest.mark.parametrize(
    "data", [{}, {"queries": [1, 2]}, [], {"queries": [1, 2], "keys": [0, 1], "other": 1}, "x"], ids=repr
)
def test_values_that_are_no_cut_are_refused(data):
    with pytest.raises(BadEdit):
        AttentionKnockout.from_dict(data)


def test_spans_in_words():
    assert [format_span(span) for span in ((3, 4), (3, 9), (1200, None))] == ["3", "3 to 8", "1,200 on"]


def test_a_cut_beyond_the_text_is_named():
    Edit(knock_out_attention=FULL).check_length(31)
    with pytest.raises(BadEdit, match=r"names token 30; 30 are read and written at most"):
        Edit(knock_out_attention=FULL).check_length(30)
