"""An edit as a table."""

from __future__ import annotations

import numpy as np

from gemma_lab import Activations, AttentionKnockout, Edit, Patch
from gemma_lab.views.trace.edit import edit_html


def test_one_row_a_layer():
    edit = Edit(
        ablate_experts={4: [17, 90]}, boost_experts={4: {3: 2.0}, "all": {5: -0.5}}, force_experts=[7]
    )
    html = edit._repr_html_()
    assert html == edit_html(edit)
    assert html.count("<tr") == 3
    for said in ("17, 90", "3 (+2)", "5 (−0.5)", ">7<", ">every<", ">4<"):
        assert said in html
    assert "<script" not in html


def test_many_experts_are_counted():
    html = edit_html(Edit(ablate_experts=range(100)))
    assert "39 and 60 more" in html
    assert "40," not in html


def test_an_empty_edit_says_so():
    assert ">none<" in edit_html(Edit())


def test_heads_stand_beside_experts():
    html = edit_html(Edit(ablate_heads={5: [0, 3], "all": [1]}))
    assert html.count("<tr") == 3
    assert "0, 3" in html
    assert "ablated heads" in html


def test_cuts_and_patches_have_tables_of_their_own():
    source = Activations((1, 4), (7, 8), np.zeros((2, 2, 4)), model="<b>mini")
    cuts = [
        AttentionKnockout(queries=(30, None), keys=(4, 20), layers=[5], heads=[2]),
        AttentionKnockout(queries=(3, 4), keys=(0, 2)),
    ]
    html = edit_html(Edit(knock_out_attention=cuts, patch=Patch(source, positions=[9, 11])))
    for said in ("30 on", "4 to 19", "0 to 1", "9, 11", "1, 4", "7, 8", "&lt;b&gt;mini"):
        assert said in html
    assert html.count("<table") == 2
    assert "<b>" not in html
    assert ">none<" not in html
