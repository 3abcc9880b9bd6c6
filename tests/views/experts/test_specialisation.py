"""Only what chance does not explain is coloured."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.analysis.experts.specialisation import Specialisation
from gemma_lab.errors import LabError
from gemma_lab.views.experts.specialisation import label_information_figure, specialisation_figure


@pytest.fixture
def found() -> Specialisation:
    rate = np.full((2, 3, 16), 0.25)
    rate[0, 1, 4], rate[0, 2, 7] = 1.0, 0.0
    p = np.ones_like(rate)
    p[0, 1, 4] = p[0, 2, 7] = 0.01
    return Specialisation(
        layers=(0, 1, 2), labels=("de", "en"), sizes=np.asarray([50, 50]), rate=rate,
        overall=np.full((3, 16), 0.25), score=np.zeros_like(rate), p=p,
        information=np.asarray([0.01, 0.2, 0.1]), information_by_chance=np.full(3, 0.02),
        information_limit=np.full(3, 0.03), alpha=0.05, permutations=500, seed=0, unit="token",
    )  # fmt: skip


def test_chance_is_blank_and_extremes_end_the_scale(found):
    cells = specialisation_figure(found, "de").figure.axes[0].images[0].get_array()
    assert cells.count() == 2
    assert cells[1, 4] == pytest.approx(2)
    assert cells[2, 7] == pytest.approx(-3)
    assert specialisation_figure(found, "en").figure.axes[0].images[0].get_array().count() == 0


def test_the_text_counts_what_is_coloured(found):
    text = specialisation_figure(found, "de").text
    assert text.startswith("de: of 48 experts 1 ")
    assert "5%" in text
    assert "2 of 3 layers" in label_information_figure(found).text


def test_axes_have_their_units(found):
    axes = label_information_figure(found).figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "bits per choice")
    assert specialisation_figure(found, "de").figure.axes[1].get_ylabel() == "rate ÷ rate over all tokens"


def test_an_unknown_label_is_refused(found):
    with pytest.raises(LabError, match="There is no label 'vi'"):
        specialisation_figure(found, "vi")
