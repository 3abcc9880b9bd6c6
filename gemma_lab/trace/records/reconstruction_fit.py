"""How well a sparse autoencoder fits the text that it read, and the refusal to interpret a poor fit."""

from __future__ import annotations

from ...errors import LabError


class ReconstructionFit:
    """Base of what holds a fit of a sparse autoencoder (SAE): features are interpreted from a minimum on.

    Attributes
    ----------
    sae
        Name of the SAE.
    min_variance_explained
        Fit below which features are not interpreted.
    """

    sae: str
    min_variance_explained: float

    @property
    def variance_explained(self) -> float:
        """``1 − Σ‖x − x̂‖² ÷ Σ‖x − mean‖²`` over the counted tokens."""
        raise NotImplementedError

    @property
    def fitted_tokens(self) -> int:
        """Number of counted tokens."""
        raise NotImplementedError

    @property
    def fits(self) -> bool:
        """Whether the fit is good enough to interpret features."""
        return bool(self.variance_explained >= self.min_variance_explained)

    def require_fit(self) -> None:
        """Raise `LabError` if the SAE explains too little of this text to interpret its features."""
        if self.fits:
            return
        explained = self.variance_explained
        worse = " That is worse than the mean of the activations." if explained < 0 else ""
        raise LabError(
            f"The SAE {self.sae} explains {explained:.3f} of the variance of these {self.fitted_tokens:,} "
            f"tokens, less than {self.min_variance_explained:g}: its features are not interpreted.{worse}",
            hint="Was it trained on this model? SAEs of a base model gave −1008, −268 and −69 on the "
            "activations of its -it variant. min_variance_explained of gl.load_sae sets the limit.",
        )
