"""Figures and table of ablation tests: a row per test or group, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.evals.ablation.result import AblationTest, AblationTests
from gemma_lab.views.evals.ablation import (
    ablation_test_figure,
    ablation_tests_figure,
    ablation_tests_html,
)


def made(claim: str, effect: float, target: str | None = None) -> AblationTest:
    controls = np.linspace(-0.3, 0.1, 199)[:, None] * np.array([1.0, 0.9, 1.1, 1.0])
    return AblationTest(
        model="mini", claim=claim, kind="experts", components={0: (1, 2)}, groups=("a", "a", "b", "b"),
        target=target, intact=np.zeros(4), ablated=np.array([-effect, -effect, 0, 0]), controls=controls,
        right_intact=np.ones(4, bool), right_ablated=np.array([False, True, True, True]),
        right_controls=np.ones((199, 4), bool), share=0.2, control_shares=np.full(199, 0.2), match="load",
        seed=0,
    )  # fmt: skip


@pytest.fixture
def several() -> AblationTests:
    return AblationTests([made("busiest <b>experts</b>", 3.0), made("others", 0.0)])


def test_a_test_has_a_row_per_group():
    picture = ablation_test_figure(made("set", 2.0))
    (axes,) = picture.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all (4)", "a (2)", "b (2)"]
    points = [line for line in axes.lines if line.get_marker() == "D"]
    assert [float(line.get_xdata()[0]) for line in points] == pytest.approx([1.0, 2.0, 0.0])
    assert "confirmed" in picture.text
    assert picture.png()


def test_a_target_is_named():
    axes = ablation_test_figure(made("set", 2.0, "a")).figure.axes[0]
    assert axes.get_yticklabels()[0].get_text() == "a minus the others"


def test_tests_have_a_row_each_with_the_verdict(several):
    picture = ablation_tests_figure(several)
    (axes,) = picture.figure.axes
    assert len(axes.get_yticklabels()) == 2
    notes = [text.get_text() for text in axes.texts]
    assert notes[0].startswith("confirmed")
    assert notes[1].startswith("failed its control")
    points = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "D"]
    assert points[0] == pytest.approx(several.tests[0].standardised)
    assert picture.png()


def test_the_table_escapes_claims(several):
    html = str(ablation_tests_html(several))
    assert "busiest &lt;b&gt;" in html
    assert html.count("<tr") == 3
    assert "100% → 75% (100%)" in html
