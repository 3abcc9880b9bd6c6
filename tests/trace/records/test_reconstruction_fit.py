"""A poor fit of a sparse autoencoder is refused with its figures."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.trace.records.reconstruction_fit import ReconstructionFit


class _Fit(ReconstructionFit):
    sae, min_variance_explained, fitted_tokens = "owner/sae", 0.5, 1_234

    def __init__(self, explained: float) -> None:
        self.explained = explained

    @property
    def variance_explained(self) -> float:
        return self.explained


@pytest.mark.parametrize("explained", [0.5, 1.0])
def test_a_fit_from_the_minimum_on_is_interpreted(explained):
    assert _Fit(explained).fits
    _Fit(explained).require_fit()


@pytest.mark.parametrize("explained", [0.4999, -3.0, float("nan")])
def test_a_poor_fit_is_refused(explained):
    fit = _Fit(explained)
    assert not fit.fits
    with pytest.raises(LabError, match="1,234") as caught:
        fit.require_fit()
    assert ("worse than the mean" in caught.value.what) == (explained < 0)
