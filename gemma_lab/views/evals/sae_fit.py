"""A sparse autoencoder, and its fit on given prompts: variance explained first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, definitions, footnotes, group, heading, tag
from ..base.text import visible
from ..base.variance_explained import DEFINITION, fit_heading, weights_note

if TYPE_CHECKING:
    from ...evals.sparse_autoencoders.fit import SaeFit
    from ...models.sparse_autoencoders.sae import SparseAutoencoder

_ACTIVATIONS = {"relu": "ReLU", "topk": "TopK", "jumprelu": "JumpReLU"}


def sae_fit_html(fit: SaeFit) -> Markup:
    """Return the fit of an SAE: variance explained with its interval, then everything else."""
    return group(
        repr(fit),
        fit_heading(
            fit.variance_explained,
            fit.min_variance_explained,
            tokens=int(fit.tokens.sum()),
            interval=fit.interval,
        ),
        definitions(
            [
                ("SAE", bdi(visible(fit.sae))),
                ("model", tag("span", bdi(visible(fit.model)), f", residual stream after layer {fit.layer}")),
                ("prompts", f"{len(fit.tokens):,}"),
                ("active features per token (L0)", f"{fit.mean_active:.1f} of {fit.features:,}"),
                ("features in no token", f"{fit.dead:.1%}"),
            ]
        ),
        footnotes([DEFINITION, weights_note(fit.same_weights)]),
    )


def sae_fit_figure(fit: SaeFit) -> Plot:
    """Draw the variance explained of every prompt, with that of all and the limit of interpretation.

    Parameters
    ----------
    fit
        From `gemma_lab.Lab.sae_fit`.
    """
    values = np.sort(fit.by_prompt[np.isfinite(fit.by_prompt)])
    low, high = fit.interval
    with new_figure(6.6, 2.6) as (figure, axes):
        floor = min(0.0, float(values[0]) if len(values) else 0.0, fit.variance_explained)
        axes.axvspan(floor - 1, fit.min_variance_explained, color=FAINT, alpha=0.5, lw=0)
        axes.axvline(0, color=INK, lw=0.8)
        spread = 0.35 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
        axes.plot(values, spread, ls="", marker=".", ms=6, color=OKABE_ITO["sky"], label="one prompt")
        if np.isfinite(low):
            axes.plot([low, high], [-0.35, -0.35], color=OKABE_ITO["vermillion"], lw=3)
        axes.plot(
            fit.variance_explained, -0.35, ls="", marker="D", ms=8, color=OKABE_ITO["vermillion"], mec=INK,
            label="all tokens, 95 % interval",
        )  # fmt: skip
        axes.set(
            xlim=(floor - 0.05, 1.02), ylim=(-0.55, 0.4), yticks=[],
            xlabel="variance explained (grey: not interpreted; 0: the mean of the activations)",
            title=f"{int(fit.tokens.sum()):,} tokens of {len(fit.tokens):,} prompts, layer {fit.layer}",
        )  # fmt: skip
        hide_frame(axes, keep="bottom")
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return Plot(
        figure,
        text=f"Variance explained {fit.variance_explained:.3f} (95 % {low:.3f} to {high:.3f}) on "
        f"{int(fit.tokens.sum()):,} tokens; prompts from {values.min(initial=np.inf):.3f} to "
        f"{values.max(initial=-np.inf):.3f}; features are interpreted from {fit.min_variance_explained:g} on",
    )


def sae_html(sae: SparseAutoencoder) -> Markup:
    """Return what is known of an SAE; its fit is not among it."""
    kind = _ACTIVATIONS[sae.activation] + (f", k = {sae.k}" if sae.k else "")
    return group(
        repr(sae),
        heading(bdi(visible(sae.name))),
        definitions(
            [
                ("reads", f"the residual stream after layer {sae.layer}, {sae.width:,} values"),
                ("features", f"{sae.features:,}, {kind}"),
                ("input", f"normalisation {sae.normalization}"),
                ("layout", sae.layout),
                ("trained on", bdi(visible(sae.trained_on or "not stated"))),
            ]
        ),
        footnotes(["How much it explains depends on the model and the text: lab.sae_fit(sae, prompts)."]),
    )
