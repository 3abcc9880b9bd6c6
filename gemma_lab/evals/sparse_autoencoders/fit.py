"""`SaeFit`: how much of the residual stream a sparse autoencoder explains on given prompts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import short_repr, whole_number
from ...display import Displayed
from ...errors import LabError
from ...models.loading.restore import restores_model
from ...models.loading.weights_digest import weights_digest
from ...models.sparse_autoencoders.sae import SparseAutoencoder
from ...models.tokens.vocabulary import Vocabulary
from ...trace.interventions.apply import active_edit
from ...trace.interventions.edit import Edit
from ...trace.probes.features import FeatureProbe
from ...trace.records.reconstruction_fit import ReconstructionFit
from .read_prompts import not_counted, prepared, progress_bar, read_with
from .top_tokens import FeatureTokens, TopTokens

if TYPE_CHECKING:
    from typing import Unpack

    from ...models.chat.options import PromptOptions
    from ...models.loading.loaded_model import LoadedModel
    from ...trace.records.features import Features

Array = np.ndarray[Any, np.dtype[Any]]
_DRAWS, _SEED = 2000, 0  # of the bootstrap


@dataclass(frozen=True, eq=False, repr=False)
class SaeFit(ReconstructionFit, Displayed):
    """Variance of the residual stream that a sparse autoencoder (SAE) explains on given prompts.

    ``1 − Σ‖x − x̂‖² ÷ Σ‖x − mean‖²`` over all counted tokens, with their mean: 1 is a perfect
    reconstruction, 0 is no better than the mean, and below 0 is worse. The first token ``<bos>`` and soft
    tokens of media do not count. `top_tokens` interprets features, and is refused below
    `min_variance_explained`.

    Attributes
    ----------
    sae, model
        Their names.
    layer, features
        The layer after which the SAE reads, and its number of features.
    tokens
        Counted tokens of each prompt, ``[prompts]``.
    squared_errors
        Σ‖x − x̂‖² of each prompt, ``[prompts]``.
    sums, squares
        Σx ``[prompts, width]`` and Σ‖x‖² ``[prompts]``, about the mean of all tokens.
    mean_active
        Mean number of active features per token (L0).
    dead
        Fraction of the features that no token has.
    min_variance_explained
        Fit below which features are not interpreted.
    same_weights
        Whether the model has the weights that the SAE was trained on; None if its files do not say.
    active_edit
        The edit that was active while the prompts were read; empty if none was.
    """

    sae: str
    model: str
    layer: int
    features: int
    tokens: Array = field(repr=False)
    squared_errors: Array = field(repr=False)
    sums: Array = field(repr=False)
    squares: Array = field(repr=False)
    mean_active: float
    dead: float
    min_variance_explained: float
    same_weights: bool | None
    top: TopTokens = field(repr=False)
    active_edit: Edit = field(default_factory=Edit)

    @property
    def variance_explained(self) -> float:
        """Variance explained; NaN if the tokens do not vary."""
        return float(self._explained(np.ones((1, len(self.tokens))))[0])

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % bootstrap interval over prompts, which are drawn whole; NaN with fewer than two.

        Tokens of one prompt resemble each other (Davison and Hinkley 1997, *Bootstrap Methods*, §3.8).
        """
        prompts = len(self.tokens)
        if prompts < 2:
            return float("nan"), float("nan")
        draws = np.random.default_rng(_SEED).multinomial(prompts, np.full(prompts, 1 / prompts), size=_DRAWS)
        low, high = np.nanquantile(self._explained(draws), (0.025, 0.975))
        return float(low), float(high)

    @property
    def by_prompt(self) -> Array:
        """Variance explained of each prompt about the mean of all tokens, float64 ``[prompts]``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(1 - self.squared_errors / self.squares)

    @property
    def fitted_tokens(self) -> int:
        """Number of counted tokens of all prompts."""
        return int(self.tokens.sum())

    def top_tokens(self, feature: int) -> FeatureTokens:
        """Return the tokens with the largest activations of a feature, in their contexts.

        Raises
        ------
        LabError
            If there is no such feature, or the fit is below `min_variance_explained`.
        """
        self.require_fit()
        return self.top.of(whole_number("feature", feature, minimum=0, maximum=self.features - 1))

    def to_pandas(self) -> Any:
        """Return one row per prompt: prompt, tokens, variance explained, squared error (needs pandas)."""
        import pandas as pd

        return pd.DataFrame(
            {
                "prompt": np.arange(len(self.tokens)),
                "tokens": self.tokens,
                "variance_explained": self.by_prompt,
                "squared_error": self.squared_errors,
            }
        )

    def __repr__(self) -> str:
        low, high = self.interval
        poor = "" if self.fits else f", below {self.min_variance_explained:g}: not interpreted"
        other = "; trained on other weights" if self.same_weights is False else ""
        edited = f"; under {self.active_edit!r}" if self.active_edit else ""
        sae, model = (" ".join(name.split()) for name in (self.sae, self.model))
        return (
            f"SaeFit(variance explained {self.variance_explained:.3f} [{low:.3f}, {high:.3f}] on "
            f"{int(self.tokens.sum()):,} tokens of {len(self.tokens):,} prompts{poor}; "
            f"L0 {self.mean_active:.1f}, {self.dead:.1%} of {self.features:,} features in no token; "
            f"{sae} on {model}, layer {self.layer}{other}{edited})"
        )

    def _explained(self, weights: Array) -> Array:
        """Return the variance explained of samples of prompts, each how often, ``[samples, prompts]``."""
        count = weights @ self.tokens
        with np.errstate(divide="ignore", invalid="ignore"):
            between = np.square(weights @ self.sums).sum(axis=1) / count
            total = weights @ self.squares - between
            explained = 1 - (weights @ self.squared_errors) / np.where(total > 0, total, np.nan)
        return np.asarray(explained)


@restores_model
def sae_fit(
    model: LoadedModel,
    sae: SparseAutoencoder,
    prompts: Any,
    *,
    progress: bool = True,
    **options: Unpack[PromptOptions],
) -> SaeFit:
    """Measure how much of the residual stream an SAE explains on prompts; see `Lab.sae_fit`."""
    if not isinstance(sae, SparseAutoencoder):
        raise LabError(f"sae is {short_repr(sae)}.", hint='Pass gl.load_sae("owner/name/folder").')
    text = model.text_config
    sae.check_model(name=model.name, width=int(text.hidden_size), layers=int(text.num_hidden_layers))
    edit = active_edit(model.model)
    listed = list(prepared(model, prompts, dict(options), call="sae_fit"))
    top = TopTokens(Vocabulary(model.tokenizer))
    found: list[tuple[Features, Any]] = []
    seen = np.zeros(sae.features, dtype=bool)
    bar = progress_bar(progress, f"{sae.name} on {model.name}")
    for number, prompt in enumerate(bar(iterable=listed, unit=" prompts")):
        probe = _Sums(sae, not_counted(model, prompt))
        read_with(model, prompt, probe)
        features = probe.result()
        top.add(number, prompt.ids, features)
        seen |= probe.seen.numpy()
        found.append((features, probe))
    tokens = np.array([int(features.counted.sum()) for features, _ in found])
    if not tokens.sum():
        raise LabError("None of the prompts has a token that counts.", hint="Pass prompts of text.")
    sums, squares = _about_the_mean(tokens, [probe for _, probe in found])
    return SaeFit(
        sae=sae.name,
        model=model.name,
        layer=sae.layer,
        features=sae.features,
        tokens=tokens,
        squared_errors=np.array([_error(features) for features, _ in found]),
        sums=sums,
        squares=squares,
        mean_active=sum(float(features.active[features.counted].sum()) for features, _ in found)
        / float(tokens.sum()),
        dead=float(1 - seen.mean()),
        min_variance_explained=sae.min_variance_explained,
        same_weights=sae.same_weights(weights_digest(model.model)),
        top=top.finished(),
        active_edit=edit,
    )


class _Sums(FeatureProbe):
    """A feature probe whose mean and variance are read, too."""

    @property
    def mean(self) -> Array:
        return np.asarray(self._mean.cpu().numpy())

    @property
    def variance(self) -> float:
        return self._variance


def _about_the_mean(tokens: Array, probes: list[_Sums]) -> tuple[Array, Array]:
    """Return Σx and Σ‖x‖² of each prompt, with the mean of all tokens taken off."""
    means = np.stack([probe.mean for probe in probes])
    apart = means - (tokens[:, None] * means).sum(axis=0) / tokens.sum()
    within = np.array([probe.variance for probe in probes])
    return tokens[:, None] * apart, within + tokens * np.square(apart).sum(axis=1)


def _error(features: Features) -> float:
    return float(features.squared_errors[features.counted].astype(np.float64).sum())
