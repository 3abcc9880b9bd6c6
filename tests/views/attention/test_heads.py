"""Pictures of heads say what the numbers say."""

from __future__ import annotations

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.head_types import classify_heads
from gemma_lab.analysis.attention.retrieval_heads import RetrievalScores
from gemma_lab.analysis.attention.sinks import attention_sinks
from gemma_lab.analysis.attention.window_coverage import window_coverage
from gemma_lab.views.attention.heads import (
    attention_sinks_figure,
    head_types_figure,
    head_types_html,
    retrieval_figure,
    window_coverage_figure,
)

COUNT = 80


@pytest.fixture(scope="module")
def trace():
    previous, first = looking(COUNT, np.arange(COUNT) - 1), looking(COUNT, [0] * COUNT)
    layers = [[previous, even(COUNT, window=32)], [first, even(COUNT)]]
    return trace_of(build_attention(layers, windows=[32, None]))


def test_every_head_has_the_letters_of_its_kinds(trace):
    picture = head_types_figure(classify_heads(trace))
    (axes,) = picture.figure.axes
    letters = {text.get_position(): text.get_text() for text in axes.texts}
    assert letters == {(0, 0): "PL", (1, 0): "", (0, 1): "F", (1, 1): ""}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0 local", "1 global"]
    assert picture.text == "4 heads over 80 tokens: 1 previous token, 1 first token, 1 local"


def test_the_table_names_what_was_not_tested(trace):
    html = head_types_html(classify_heads(trace))
    assert "not tested: no image" in html
    assert "0.0 (0.9" in html
    assert "<script" not in html


def test_retrieval_is_sorted_and_chance_is_beside_it():
    found = RetrievalScores(
        ((0, 0), (0, 1), (1, 0)), np.asarray([[0.05, 0.6, 0.2]]), np.asarray([0.01, 0.02, 0.3])
    )
    picture = retrieval_figure(found)
    (axes,) = picture.figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.6, 0.2, 0.05]
    assert axes.lines[0].get_xdata().tolist() == [0.02, 0.3, 0.01]
    assert axes.get_yticklabels()[0].get_text() == "layer 0 head 1"
    assert "2 of 3 heads" in picture.text
    assert "layer 0 head 1 (0.60)" in picture.text


def test_sinks_are_columns_and_none_is_a_picture_too(trace):
    heat = attention_sinks_figure(attention_sinks(trace)).figure.axes[0]
    assert [label.get_text() for label in heat.get_xticklabels()] == ["0"]
    assert heat.images[0].get_array().shape == (4, 1)
    nothing = attention_sinks_figure(attention_sinks(trace_of(build_attention([[even(COUNT)]]))))
    assert nothing.text.startswith("0 of 80 tokens")
    assert nothing.png()


def test_reach_has_a_bar_a_layer_and_a_range_a_global_head(trace):
    data = window_coverage(trace)
    left, right = window_coverage_figure(data).figure.axes
    np.testing.assert_allclose([bar.get_width() for bar in left.patches[2:]], data.outside)
    assert [label.get_text() for label in right.get_yticklabels()] == ["1.0", "1.1"]
    assert "1 of 2 layers are local" in window_coverage_figure(data).text
