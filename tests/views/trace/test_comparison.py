"""Comparisons as HTML and as a figure: changes are marked without colour, and text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from support.traced import generation, trace_of

from gemma_lab.analysis.comparison import compare
from gemma_lab.errors import LabError
from gemma_lab.views.trace.comparison import comparison_figure, comparison_html
from tests.analysis.conftest import routing


@pytest.fixture
def pair():
    ids = [[[0, 1]] * 6, [[2, 3]] * 6]
    other = [[[0, 1]] * 6, [[2, 3], [2, 1], [2, 0], [0, 1], [0, 1], [0, 1]]]
    return (
        trace_of(
            [1, 2, 3], generation([10, 11, 12, 14], "ABCD"), routing=routing(ids, experts=4, layers=(1, 4)),
        ),
        trace_of(
            [1, 2, 3], generation([10, 13, 12, 14], "AXCD"), routing=routing(other, experts=4, layers=(1, 4)),
            edit={"ablate_experts": {"4": [3]}},
        ),
    )  # fmt: skip


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check(html):
    assert "<script" not in html
    parser = Balanced()
    parser.feed(html)
    assert not parser.open


def test_changes_are_marked_by_elements(pair):
    html = compare(*pair)._repr_html_()
    check(html)
    assert re.search(r"A<del [^>]*>B</del>CD", html)
    assert re.search(r"A<ins [^>]*>X</ins>CD", html)
    assert "1 of 4 generated tokens changed, from token 1" in html
    assert ">replaced<" in html
    assert "The first difference is in layer 4, at token 1." in html


def test_what_kl_means_is_said_where_it_stands(pair):
    html = comparison_html(compare(*pair))
    assert "lower bound" in html
    assert "Not the same context" in html
    assert "Not the same context" not in comparison_html(compare(pair[0], pair[0]))


def test_a_changed_run_is_one_element_so_that_letters_stay_joined():
    one = trace_of([1], generation([10, 11, 12, 13], "سلام"))
    two = trace_of([1], generation([10, 20, 21, 13], "سئبم"))
    html = comparison_html(compare(one, two))
    assert re.search(r"س<del [^>]*>لا</del>م", html)
    assert re.search(r"س<ins [^>]*>ئب</ins>م", html)


def test_text_is_data():
    bad = "<script>alert(1)</script>"
    made = generation([10, 11], "<b")
    one = trace_of([1], made, texts=["x", bad], name='<img src=x onerror="a()">')
    html = comparison_html(compare(one, trace_of([1], generation([20, 21], "ab"))))
    check(html)
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_long_answers_are_counted_not_drawn():
    ids = list(range(10, 3010))
    one = trace_of([1], generation(ids, "a" * 3000))
    html = comparison_html(compare(one, one))
    check(html)
    assert "2,800 more rows are not shown." in html
    assert "1,000 more tokens" in html
    assert len(html) < 150_000


def test_prompts_alone_and_dense_models(pair):
    alone = compare(*(trace_of([1], None, routing=routing([[[0, 1]]], experts=4)) for _ in range(2)))
    check(comparison_html(alone))
    assert "Tokens one by one" not in comparison_html(alone)
    assert len(comparison_figure(alone).figure.axes) == 1
    dense = compare(trace_of([1], generation([10], "A")), trace_of([1], generation([10], "A")))
    check(comparison_html(dense))
    assert "Routing by layer" not in comparison_html(dense)
    assert len(comparison_figure(dense).figure.axes) == 1
    with pytest.raises(LabError, match="nothing to draw"):
        comparison_figure(compare(trace_of([1], None), trace_of([1], None)))


def test_the_figure_draws_every_number(pair):
    found = compare(*pair)
    picture = found.figure()
    answer, layers = picture.figure.axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in answer.patches}
    np.testing.assert_allclose([heights[row] for row in range(4)], found.kl)
    (marks,) = answer.lines
    assert marks.get_xdata().tolist() == [1]
    hatched = [bar for bar in answer.patches if bar.get_hatch()]
    assert len(hatched) == int((~found.same_context).sum()) == 2
    experts, weight = layers.lines
    np.testing.assert_allclose(experts.get_ydata(), found.routing.experts)
    np.testing.assert_allclose(weight.get_ydata(), found.routing.weight)
    assert [tick.get_text() for tick in layers.get_xticklabels()] == ["1", "4"]
    assert picture.png() == found.figure().png()
    assert picture.text == repr(found).removeprefix("Comparison(").removesuffix(")")


def test_a_divergence_without_end_leaves_the_figure_at_the_top():
    one = trace_of([1], generation([10, 11], "AB", top_logprobs=[{10: 0.5, 11: 0.5}, {11: 0.9}]))
    two = trace_of([1], generation([10, 11], "AB", top_logprobs=[{10: 1.0, 11: 0.0}, {11: 0.9}]))
    found = compare(one, two)
    assert np.isinf(found.kl[0])
    (axes,) = found.figure().figure.axes
    assert axes.patches[0].get_height() > axes.get_ylim()[1]
    check(comparison_html(found))
