"""Methods of a lab that record one run: traces, activations, attention rows, logit attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...models.chat.options import PromptOptions, RequestOptions, spelled_out
from ...models.loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Unpack

    import numpy as np

    from ...models.chat.request_builder import PromptLike
    from ...models.sparse_autoencoders.sae import SparseAutoencoder
    from ..interventions.edit import Edit
    from ..lenses.jacobian_lens import JacobianLens
    from ..records.activations import Activations, Site
    from ..records.attention import AttentionRequest
    from ..records.logit_attribution import LogitAttribution
    from ..records.logit_lens import LensKind, LogitLensRequest
    from ..records.routing import Precision
    from ..trace import Trace


class TraceMethods(LoadedModel):
    """Record what happens inside the model in one run."""

    interrupted_trace: Trace | None
    jacobian_lens: JacobianLens | None

    @spelled_out(RequestOptions, max_new_tokens=0, temperature=0.0)
    def trace(
        self,
        prompt: PromptLike = None,
        *,
        precision: Precision = "compact",
        edit: Edit | None = None,
        attention: bool | AttentionRequest = False,
        logit_lens: bool | LensKind | Sequence[int] | LogitLensRequest = False,
        sae: SparseAutoencoder | None = None,
        progress: bool = False,
        **options: Unpack[RequestOptions],
    ) -> Trace:
        """Run the model with probes and return a trace: routing, and on request attention and logit lens.

        Logits and generated tokens are those of a run without tracing, bit for bit. A prompt of more than
        4,096 tokens, or that would take more memory than is free, is read in chunks, as in `chat` and
        `stream` (`gemma_lab.models.chat.prefill_plan`), so that memory grows linearly with its length. When
        an interrupt or an error ends the run, ``lab.interrupted_trace`` has the chunks that were read.

        Parameters
        ----------
        prompt, **options
            As for `chat`, but by default no answer is generated (``max_new_tokens=0``), and decoding is
            greedy (``temperature=0``). A `Request` is run unchanged: that of an earlier trace,
            ``gl.Request.from_meta(trace.meta, trace.images)``, gives an equal trace.
        precision
            Precision of the recorded routing and attention: ``"compact"``, or ``"full"`` (float32).
        edit
            An edit to apply during the run, in addition to the active ones (`edit`).
        attention
            Record attention: True, or a `gemma_lab.AttentionRequest` that selects what to record.
        logit_lens
            Record the logit lens: positions (negative ones count from the end of the prompt), a
            `gemma_lab.LogitLensRequest`, or True for the last 64 tokens of the prompt and the answer;
            ``"jacobian"`` for the same with the Jacobian lens of the model (`fit_lens`).
        sae
            Record the features of a sparse autoencoder at every token (`gemma_lab.load_sae`), and how much of
            the residual stream they explain.
        progress
            Show a progress bar.

        Returns
        -------
        Trace
            One row per token that the model read. The last generated token was not read: it is in
            ``trace.generation`` only. ``trace.meta["request"]`` is the request, media by digest.

        Raises
        ------
        BadTrace
            If recorded quantities contradict each other.
        BadEdit
            If the model does not have what the edit names.
        LabError, TypeError
            As `chat` does.
        """
        from .run import trace

        return trace(
            self,
            prompt,
            precision=precision,
            edit=edit,
            attention=attention,
            logit_lens=logit_lens,
            sae=sae,
            progress=progress,
            **options,
        )

    @spelled_out(PromptOptions)
    def activations(
        self,
        prompt: PromptLike = None,
        *,
        layers: Iterable[int] | None = None,
        positions: Iterable[int] | None = None,
        site: Site = "residual",
        **options: Unpack[PromptOptions],
    ) -> Activations:
        """Run the model on a prompt and return what chosen layers, or their branches, return at some tokens.

        Parameters
        ----------
        prompt, **options
            As for `chat`: those that decide what the model reads.
        layers
            Layers of the decoder; all by default.
        positions
            Tokens of the prompt, i.e. rows of ``trace.tokens``, negative ones from its end; all by default.
        site
            ``"residual"``: the residual stream after each layer. Or what a branch of each layer returns,
            before the norm that follows it: ``"attention"``, ``"mlp"`` (the dense branch) or ``"experts"``
            (their weighted sum).

        Returns
        -------
        Activations
            Those under the active edit; `edit` accepts them as a patch.

        Raises
        ------
        BadEdit
            If a layer, a site or a position does not exist, or there would be more values than an edit can
            hold.
        LabError, TypeError
            As `chat` does.
        """
        from .activations import activations

        return activations(self, prompt, layers=layers, positions=positions, site=site, **options)

    def attention_rows(
        self, trace: Trace, queries: Iterable[int], *, layers: Iterable[int] | None = None
    ) -> dict[tuple[int, int], np.ndarray[Any, np.dtype[np.float32]]]:
        """Recompute exact attention rows of a trace by running the model on its tokens again.

        The prompt is read in the same chunks, and the answer token by token up to the last query, under the
        edit of the trace (patches included), which is removed afterwards.

        Parameters
        ----------
        trace
            A trace of this model, with or without attention. Its images must be in it; traces do not keep
            videos and sounds.
        queries
            Queries, i.e. rows of its token table.
        layers
            Layers of the decoder; all by default.

        Returns
        -------
        dict
            Layer and query → float32 ``[heads, keys]``
            (`gemma_lab.trace.records.attention.Attention.row`).

        Raises
        ------
        BadTrace
            If the trace is of another model, lacks its media, has other tokens than its prompt gives, or has
            an edit that cannot be applied again.
        DoesNotFit
            If the rows take more memory than is free.
        LabError
            If a query or a layer does not exist, or another edit is active.
        """
        from .attention_rows import attention_rows

        return attention_rows(self, trace, queries, layers=layers)

    @spelled_out(PromptOptions)
    def attribute_logit(
        self,
        prompt: PromptLike = None,
        *,
        answer: str | int | None = None,
        against: str | int | None = None,
        **options: Unpack[PromptOptions],
    ) -> LogitAttribution:
        """Split the logit of the next token over embedding, heads, dense branches, experts and soft cap.

        Direct logit attribution: what each component writes into the residual stream at the last token,
        through the scalars of later layers, the final norm and the output head. The scale of every norm is
        held at its value in this run, so that the shares sum to the logit, which is checked.

        Parameters
        ----------
        prompt, **options
            As for `chat`: those that decide what the model reads.
        answer
            The token, as text or id; the likeliest one by default.
        against
            A second token whose logit is subtracted: what speaks for the one and not for the other.

        Returns
        -------
        LogitAttribution

        Raises
        ------
        BadTrace
            If the shares do not sum to the logit, as where an edit or a hook writes to the residual stream.
        LabError, TypeError
            If a text is not one token, the model is not a Gemma 4, or as `chat` raises.

        Examples
        --------
        >>> lab.attribute_logit("The code of Ben is 75. Tell me the code of Ben.", answer="7", against="3")
        """
        from .logit_attribution import attribute_logit

        return attribute_logit(self, prompt, answer=answer, against=against, **options)
