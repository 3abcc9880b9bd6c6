"""Text, tables and figures of ablation studies: the design first, every claim and control, the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from support.studies import made_study

from gemma_lab.views.evals.ablation_study import (
    design_html,
    design_text,
    negative_line,
    random_set_p_values_figure,
    result_html,
    result_text,
    study_result_figure,
)


@pytest.fixture
def result():
    return made_study({"busiest <b>experts</b>": 3.0, "others": 0.0})


def test_the_design_comes_first(result):
    text = result_text(result)
    assert text.startswith(design_text(result.design))
    assert text.index("199 random sets") < text.index("verdict\n")
    assert max(map(len, design_text(result.design).splitlines())) <= 100
    html = str(result_html(result))
    assert html.index("199 random sets") < html.index("<table")


def test_tables_escape_claims_and_have_a_row_each(result):
    html = str(result_html(result))
    assert "busiest &lt;b&gt;" in html
    assert "<b>" not in str(design_html(result.design))
    assert html.count("<tr") == 4
    assert "100% → 75% (100%)" in html
    assert "1 repeated" in html


def test_every_claim_and_control_is_a_row_with_its_verdict(result):
    picture = study_result_figure(result)
    (axes,) = picture.figure.axes
    assert len(axes.get_yticklabels()) == 3
    assert [text.get_text().split("\n")[0] for text in axes.texts] == [
        "confirmed", "failed its control", "detected",
    ]  # fmt: skip
    markers = {line.get_marker() for line in axes.lines} - {".", "None"}
    assert markers == {"D", "X", "^"}  # verdicts differ in shape, not in colour alone
    points = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() in "DX^"]
    assert points == pytest.approx([one.standardised for one in (*result.tests, *result.positive_controls)])
    assert picture.png()


def test_the_negative_control_is_a_distribution_beside_the_diagonal(result):
    picture = random_set_p_values_figure(result)
    (axes,) = picture.figure.axes
    line = axes.lines[1]
    assert line.get_ydata()[-1] == 1
    np.testing.assert_allclose(line.get_xdata()[1:], result.negative_p)
    assert picture.text == negative_line(result)
    assert "0 of 60 random sets have p ≤ 0.01 (0.6 expected)" in picture.text
    assert random_set_p_values_figure(made_study({"x": 1.0}, negative=[])).text == (
        "negative control: no further random sets exist"
    )
