"""Methods of a lab that fit a lens or a sparse autoencoder to its model, and measure the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..models.chat.options import PromptOptions, spelled_out
from ..trace.run.methods import TraceMethods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Unpack

    from ..models.chat.request_builder import PromptLike
    from ..models.sparse_autoencoders.sae import SparseAutoencoder
    from ..trace.lenses.jacobian_lens import JacobianLens
    from .sparse_autoencoders.fit import SaeFit


class FittingMethods(TraceMethods):
    """Fit what reads the residual stream, and measure how well."""

    def fit_lens(
        self,
        texts: Sequence[Any] | None = None,
        *,
        corpus: str | None = None,
        max_tokens: int = 128,
        skip: int = 4,
        copies: int | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_text: Callable[[int, int], Any] | None = None,
        progress: bool = True,
    ) -> JacobianLens:
        """Fit the Jacobian lens of the model on texts, and set it as ``lab.jacobian_lens``.

        Each text costs one forward pass and ``width / copies`` backward passes of as many copies of it; the
        matrices are exact for the texts (`gemma_lab.JacobianLens` has the formula).
        `gemma_lab.evals.lens_cost` says beforehand what a model takes. The weights are not changed.

        Parameters
        ----------
        texts
            Examples as `fine_tune` takes them, without media: texts, or pairs of prompt and answer. Default:
            72 questions of the check-up with their answers (`gemma_lab.evals.lens_corpus`).
        corpus
            Description of the texts, kept with the lens.
        max_tokens
            Length that texts are cut to.
        skip
            Positions left out at the start of each text, where attention sinks are; the reference
            implementation leaves out 16 of texts of 128 tokens.
        copies
            Copies of a text that are read together: more need more memory. Default: as many as half of the
            free memory holds, at most 64.
        checkpoint
            File that keeps the state every minute, at an interrupt and at the end.
        resume
            Go on from that state, if there is one.
        on_text
            Called after every text with the number of texts done and of all.
        progress
            Show a progress bar.

        Returns
        -------
        JacobianLens

        Raises
        ------
        LabError
            If no text is long enough, one has media, the model passes no gradients, or `on_text` cannot be
            called.
        BadLens
            If an adapter is active, or the state is of another fit.
        BadEdit
            If an edit is active.
        DoesNotFit
            If the fit takes more memory than is free.

        Examples
        --------
        >>> lens = lab.fit_lens(["The sun rose over the quiet village and …"], corpus="my diary")
        >>> lab.trace("What is XIV?", logit_lens="jacobian").logit_lens
        """
        from ..checks import short_repr
        from ..errors import BadEdit, LabError
        from ..trace.interventions.apply import active_edit
        from ..trace.lenses.fit import fit_jacobian_lens
        from .lens_texts import DESCRIPTION, lens_corpus

        if active_edit(self.model):
            raise BadEdit("An edit is active; a lens is fitted on the model itself.", hint="Leave its block.")
        if on_text is not None and not callable(on_text):
            raise LabError(
                f"on_text is {short_repr(on_text)}, which cannot be called.",
                hint="For example on_text=lambda done, of: print(done, of).",
            )
        described = corpus or (DESCRIPTION if texts is None else "texts of the caller")
        found = fit_jacobian_lens(
            self,
            lens_corpus() if texts is None else texts,
            corpus=described,
            max_tokens=max_tokens,
            skip=skip,
            copies=copies,
            checkpoint=checkpoint,
            resume=resume,
            on_text=on_text,
            progress=progress,
        )
        self.jacobian_lens = found
        return found

    @spelled_out(PromptOptions)
    def sae_fit(
        self,
        sae: SparseAutoencoder,
        prompts: Iterable[PromptLike],
        *,
        progress: bool = True,
        **options: Unpack[PromptOptions],
    ) -> SaeFit:
        """Measure how much of the residual stream a sparse autoencoder (SAE) explains on your prompts.

        Do this first: an SAE of another model, or of other text, can explain less than the mean of the
        activations does, and its features then say nothing.

        Parameters
        ----------
        sae
            From `gemma_lab.load_sae` or `train_sae`.
        prompts, **options
            Prompts as for `chat`, and the options that decide what the model reads, the same for all: for
            text without a chat template ``raw=True``.
        progress
            Show a progress bar.

        Returns
        -------
        SaeFit
            Variance explained with its interval over prompts, active features per token, features that no
            token has, and the tokens that a feature is largest at. Under an active edit it is the fit to
            the edited model, and the result says so.

        Raises
        ------
        LabError
            If the SAE reads another stream than the model has, or there are no prompts.
        TypeError
            If an option does not exist.

        Examples
        --------
        >>> sae = gl.load_sae("decoderesearch/gemma-4-saes/gemma-4-e2b/btk-mat-layer-28-k-100")
        >>> fit = lab.sae_fit(sae, ["What is 7 times 8?", "Write a haiku."])
        >>> fit.variance_explained, fit.interval
        """
        from .sparse_autoencoders.fit import sae_fit

        return sae_fit(self, sae, prompts, progress=progress, **options)

    @spelled_out(PromptOptions)
    def train_sae(
        self,
        prompts: Iterable[PromptLike],
        *,
        layer: int,
        features: int | None = None,
        k: int = 16,
        steps: int = 2000,
        batch_size: int = 512,
        learning_rate: float | None = None,
        seed: int = 0,
        name: str | None = None,
        progress: bool = True,
        **options: Unpack[PromptOptions],
    ) -> SparseAutoencoder:
        """Train a TopK sparse autoencoder (SAE) on the residual stream after a layer.

        The model is not changed. Without an interruption, the same arguments give the same SAE on the same
        machine. It carries a digest of the model's weights.

        Parameters
        ----------
        prompts, **options
            Prompts as for `chat`, and the options that decide what the model reads. Keep others for
            `sae_fit`.
        layer
            Layer of the decoder.
        features
            Number of features; eight times the width of the residual stream by default.
        k
            Active features per token, 1 to 128.
        steps, batch_size
            Number of updates, and tokens per update.
        learning_rate
            Its maximum; by default ``2e-4 · √(16384 / features)`` (arXiv:2406.04093).
        seed
            Of the first weights and of the order of the tokens.
        name
            Name of the SAE.
        progress
            Show a progress bar.

        Returns
        -------
        SparseAutoencoder
            `SparseAutoencoder.save` writes it in sae_lens' layout; ``sae.training`` is what training reports.

        Raises
        ------
        BadEdit
            If an edit is active.
        DoesNotFit
            If its weights and their optimiser take more memory than is free.
        LabError
            If an argument is out of range, there are no prompts, or the loss is not finite.
        TypeError
            If an option does not exist.
        """
        from .sparse_autoencoders.train import train_sae

        return train_sae(
            self,
            prompts,
            layer=layer,
            features=features,
            k=k,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            name=name,
            progress=progress,
            **options,
        )
