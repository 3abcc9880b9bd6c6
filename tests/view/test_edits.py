"""An edit as a table."""

from __future__ import annotations

from gemma_lab import Edit
from gemma_lab.view.edits import edit_html


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
