"""Figure of an ablation test: a row per measure and group."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.evals.ablation.result import AblationTest, Measure
from gemma_lab.views.evals.ablation import ablation_test_figure


def made(claim: str, effect: float, measure: Measure | None = None) -> AblationTest:
    controls = np.linspace(-0.3, 0.1, 199)[:, None] * np.array([1.0, 0.9, 1.1, 1.0])
    return AblationTest(
        model="mini", claim=claim, kind="experts", components={0: (1, 2)}, groups=("a", "a", "b", "b"),
        measure=measure or Measure(), match="load", seed=0, intact=np.zeros(4),
        ablated=np.array([-effect, -effect, 0, 0]), controls=controls, right_intact=np.ones(4, bool),
        right_ablated=np.array([False, True, True, True]), right_controls=np.ones((199, 4), bool), share=0.2,
        control_shares=np.full(199, 0.2),
    )  # fmt: skip


def test_a_test_has_a_row_per_group():
    picture = ablation_test_figure(made("set", 2.0))
    (axes,) = picture.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all questions (4)", "a (2)", "b (2)"]
    points = [line for line in axes.lines if line.get_marker() == "D"]
    assert [float(line.get_xdata()[0]) for line in points] == pytest.approx([1.0, 2.0, 0.0])
    assert "199 random sets" in picture.text
    assert picture.png()


@pytest.mark.parametrize(("contrast", "label"), [(True, "a minus the others"), (False, "of a")])
def test_a_target_is_named(contrast, label):
    axes = ablation_test_figure(made("set", 2.0, Measure("a", contrast))).figure.axes[0]
    assert axes.get_yticklabels()[0].get_text() == label
