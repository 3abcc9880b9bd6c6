"""What comes before everything else about a sparse autoencoder: its fit, and what follows from it."""

from __future__ import annotations

import numpy as np

from .html import Markup, heading

DEFINITION = (
    "Variance explained is 1 − Σ‖x − x̂‖² ÷ Σ‖x − mean‖²: 1 is a perfect reconstruction, 0 no better than the "
    "mean, below 0 worse. <bos> and soft tokens of media do not count."
)


def fit_heading(
    explained: float, least: float, *, tokens: int, interval: tuple[float, float] | None
) -> Markup:
    """Return the line that comes before everything else about an SAE: its fit, and what follows from it."""
    ranges = ""
    if interval is not None and np.isfinite(interval[0]):
        ranges = f" (95 % interval over prompts {interval[0]:.3f} to {interval[1]:.3f})"
    verdict = (
        f"at least {least:g}: features are interpreted"
        if explained >= least
        else f"below {least:g}: features are not interpreted"
    )
    return heading(f"Variance explained {explained:.3f}{ranges} on {tokens:,} tokens — {verdict}")


def weights_note(same: bool | None) -> str:
    """Return a sentence on the weights that an SAE was trained on."""
    return {
        True: "The model has the weights that the SAE was trained on.",
        False: "The model has other weights than the SAE was trained on.",
        None: "The SAE's files do not identify the weights that it was trained on.",
    }[same]
