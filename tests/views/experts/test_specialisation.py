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
    assert specialisation_figure(found, "de").text == (
        "de: of 48 experts 1 chosen more often and 1 less often than chance explains (family-wise 5%); "
        "the others are blank"
    )
    assert label_information_figure(found).text.endswith("beyond chance in 2 of 3 layers")


def test_axes_have_their_units(found):
    axes = label_information_figure(found).figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "bits a choice")
    assert specialisation_figure(found, "de").figure.axes[1].get_ylabel() == "rate ÷ rate over all tokens"


def test_an_unknown_label_is_refused(found):
    with pytest.raises(LabError, match="There is no label 'vi'"):
        specialisation_figure(found, "vi")
