"""`Lab`, a loaded Gemma 4 with methods to chat, trace, edit and evaluate, and `load`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .models.chat.options import PromptOptions, RequestOptions, check_keywords, spelled_out
from .models.loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Literal, Unpack

    import numpy as np

    from .evals.causal.causal_map import CausalMap, Patching
    from .evals.causal.cells import Part, Span
    from .evals.needle_in_a_haystack import Haystack
    from .evals.report import Checkup
    from .evals.scan.scan import Scan
    from .evals.sparse_autoencoders.fit import SaeFit
    from .models.chat.cost import Cost
    from .models.chat.next_token import Distribution
    from .models.chat.reply import Reply
    from .models.chat.request import Request
    from .models.chat.request_builder import PromptLike
    from .models.chat.stream import Stream
    from .models.fine_tuning.adapter import Adapter
    from .models.fine_tuning.adapters import Adapters
    from .models.fine_tuning.progress import TrainingProgress
    from .models.sparse_autoencoders.sae import SparseAutoencoder
    from .models.tool_use.runner import Approve, ToolRun
    from .planning.measurement import SpeedReport
    from .trace.interventions.apply import EditContext
    from .trace.interventions.attention_knockout import AttentionKnockout
    from .trace.interventions.direction import Direction
    from .trace.interventions.edit import Edit
    from .trace.interventions.parsing import Boosts, Experts, Heads
    from .trace.interventions.patch import Patch
    from .trace.interventions.steering import Steering
    from .trace.lenses.jacobian_lens import JacobianLens
    from .trace.records.activations import Activations, Site
    from .trace.records.attention import AttentionRequest
    from .trace.records.logit_attribution import LogitAttribution
    from .trace.records.logit_lens import LensKind, LogitLensRequest
    from .trace.records.routing import Precision
    from .trace.trace import Trace


class Lab(LoadedModel):
    """A loaded Gemma 4 with methods to chat, trace, edit and evaluate.

    `gemma_lab.load` returns one; the constructor is for a model that you built or changed yourself.
    Parameters and attributes are those of `LoadedModel`.
    """

    last_reply: Reply | None
    last_run: ToolRun | None
    last_checkup: Checkup | None
    last_causal_map: CausalMap | None
    last_adapter: Adapter | None
    interrupted_trace: Trace | None
    jacobian_lens: JacobianLens | None

    @spelled_out(RequestOptions)
    def chat(self, prompt: PromptLike = None, **options: Unpack[RequestOptions]) -> Reply:
        r"""Send a prompt and return the complete answer.

        Parameters
        ----------
        prompt
            The user's text; or a conversation in the messages format of transformers; or a `Request`, of
            which the sampling, the seed, the limits and `stop` can be replaced. None only with
            `tool_results`.
        images
            Images for this turn: paths, bytes, PIL images, arrays ``(height, width[, channel])`` or open
            files. They are placed before the text, as the model card recommends.
        video
            A video for this turn, or a list of them: a path, bytes, frames with their rate ``(frames, 2.0)``,
            or what `gemma_lab.load_video` returned, which chooses the frames.
        audio
            A sound for this turn, or a list of them: a path, bytes, samples with their rate
            ``(samples, 44_100)``, or what `gemma_lab.load_audio` returned. At most 30 s each.
        max_soft_tokens
            Maximum number of soft tokens per image and per video frame: 70, 140, 280, 560 or 1120; the
            processor's own limit by default. It applies to all images and videos of the conversation.
        system
            The system prompt; only for the first turn. ``""`` is none.
        previous
            The reply whose conversation is continued. Replies are immutable: one can be continued twice.
        tools
            Functions that the model may call: Python functions with type hints, or declarations in OpenAI's
            format. They are declared, never called: ``reply.calls`` has the calls. By default those of
            `previous` stay declared.
        tool_results
            Results of the calls of `previous`, one per call in order: mappings or plain values.
        thinking
            Whether the model generates thoughts before the answer.
        raw
            Read the prompt without the chat template: text, a list of parts (text and media), or token ids.
            Media and the ``<bos>`` token are added before text; ids are read unchanged.
            `system`, `previous`, `tools` and `thinking` need a chat template.
        sampling
            A `Sampling`, or a mapping of its parameters; the family's recommendation by default.
        temperature, top_p, top_k
            Values to replace in `sampling`. A temperature of 0 is greedy.
        seed
            Seed of the sampling, 0 to 2⁶³ − 1; the global random state is not used.
        max_new_tokens
            Maximum length of the answer, in tokens. It also ends a text inside JSON or a call that the model
            never closes: ``finish_reason`` is then ``"length"``.
        top_logprobs
            How many of the likeliest tokens to keep per position, 0 to 4,096.
        stop
            Strings that end the answer, which then ends with one (as with transformers' ``stop_strings``);
            and events that end it when another thread sets them: ``stop=["\n", event]``.
        schema
            Bind the answer to JSON: a pydantic model, a dataclass, a TypedDict or a JSON Schema. Thoughts
            stay free. ``reply.data`` is the value, `BadAnswer` with ``.text`` and ``.partial`` if the answer
            was cut; ``token.overruled`` what the grammar forbade.
        tool_choice
            Bind tool calls to their declarations: ``"auto"``, ``"none"``, ``"required"`` or the name of a
            tool. Left out, the model writes calls freely.

        Returns
        -------
        Reply

        Raises
        ------
        ContextFull
            If the prompt fills the context. An answer that reaches its end is cut (``"length"``).
        BadMedia
            If a medium cannot be read, or the model has no tower for it.
        BadPrompt
            If the messages are not in the chat format, or the checkpoint has no chat template (`complete`).
        DoesNotFit
            If memory runs out.
        BadSchema
            If a schema cannot be enforced completely.
        LabError
            If an option is of the wrong type or out of range, or logits are not finite.
        TypeError
            If an option does not exist.
        """
        from .models.chat.chat import chat

        return chat(self, prompt, **options)

    @spelled_out(RequestOptions)
    def stream(self, prompt: PromptLike = None, **options: Unpack[RequestOptions]) -> Stream:
        """Send a prompt and return the answer as a stream of chunks.

        The parameters are those of `chat`. Leaving the loop, closing the stream or interrupting the cell
        stops the model; what was generated by then is in `last_reply`.

        Returns
        -------
        Stream
            Iterate over it for chunks with ``.text`` and ``.kind``, and with ``.partial`` if the answer has a
            ``schema``; afterwards ``.reply`` is the `Reply`.

        Raises
        ------
        LabError, TypeError
            As `chat` does.
        """
        from .models.chat.chat import stream

        return stream(self, prompt, **options)

    @spelled_out(RequestOptions, raw=True)
    def complete(self, prompt: PromptLike, **options: Unpack[RequestOptions]) -> Reply:
        """Continue a text, or token ids, without the chat template: `chat` with ``raw=True``.

        It works on every checkpoint, pre-trained or instruction-tuned, with media where the model has towers.

        Returns
        -------
        Reply
            With no conversation to continue: its ``messages`` are empty.

        Raises
        ------
        LabError, TypeError
            As `chat` does.

        Examples
        --------
        >>> lab.complete("The capital of France is", max_new_tokens=3, temperature=0).text
        ' Paris.'
        """
        from .models.chat.chat import chat

        check_keywords("complete", options, RequestOptions)
        return chat(self, prompt, **{**options, "raw": True})  # type: ignore[arg-type]

    @spelled_out(RequestOptions)
    def run(
        self,
        prompt: PromptLike,
        *,
        tools: Iterable[Any],
        max_rounds: int = 8,
        approve: Approve | None = None,
        timeout: float = 30.0,
        max_result_chars: int = 20_000,
        **options: Any,
    ) -> ToolRun:
        """Send a prompt with tools, and run the model's calls until it answers without one.

        Only tools that are passed can run, with arguments that satisfy their declaration. Failures (an
        unknown name, invalid arguments, an exception, a time limit, a denied call) are returned to the model
        as the call's result. After an interrupt ``lab.last_run`` has the rounds so far.

        Parameters
        ----------
        prompt
            As for `chat`.
        tools
            Functions (sync or async), `gemma_lab.McpServer` objects, or declarations, which end the run when
            the model calls one.
        max_rounds
            Maximum number of replies.
        approve
            Called with each valid `Call` before it runs: True runs it, False or a reason denies it, a mapping
            runs it with these arguments. None runs all.
        timeout
            Seconds per call.
        max_result_chars
            Maximum length of a result as JSON, characters; a longer one is returned as an error.
        **options
            As for `chat`. ``tool_choice`` applies to the first reply only.

        Returns
        -------
        ToolRun
            Every reply with its executed calls; ``lab.chat(…, previous=run.reply)`` continues.

        Examples
        --------
        >>> def weather(city: str) -> dict:
        ...     "Weather in a city."
        ...     return {"temperature": 21}
        >>> lab.run("What is the weather in Rome?", tools=[weather]).text
        """
        from .models.tool_use.runner import run

        return run(
            self,
            prompt,
            tools=tools,
            max_rounds=max_rounds,
            approve=approve,
            timeout=timeout,
            max_result_chars=max_result_chars,
            **options,
        )

    @spelled_out(RequestOptions)
    def request(self, prompt: PromptLike = None, **options: Unpack[RequestOptions]) -> Request:
        """Return a request without running it; the parameters are those of `chat`.

        Returns
        -------
        Request
            What `chat`, `stream`, `cost`, `trace`, `next_token` and `activations` take as their prompt. If
            tokens are to be sampled and no seed is passed, one is drawn, so that the answer can be repeated.

        Raises
        ------
        LabError, TypeError
            As `chat` does.
        """
        from .models.chat.request_builder import build_request

        check_keywords("request", options, RequestOptions)
        return build_request(self, prompt, options)

    @spelled_out(RequestOptions, max_new_tokens=0)
    def cost(self, prompt: PromptLike = None, **options: Unpack[RequestOptions]) -> Cost:
        """Return the tokens, cache and memory of a prompt without running it or encoding its media.

        The parameters are those of `chat`; the sampling changes nothing. `max_new_tokens` is the length of an
        answer that the cache is computed for; 0, the default, is the prompt only.

        Returns
        -------
        Cost
            For a prompt that does not fit the context, ``cost.fits`` is False.

        Raises
        ------
        BadPrompt, BadMedia, TypeError
            As `chat` does.
        ContextFull
            If the texts are too many for the context by their length alone: they are not tokenised.
        """
        from .models.chat.cost import cost

        return cost(self, prompt, **options)

    @spelled_out(PromptOptions)
    def next_token(self, prompt: PromptLike = None, **options: Unpack[PromptOptions]) -> Distribution:
        """Return the model's distribution of the first token of an answer, without sampling.

        The parameters are those of `chat` that decide what the model reads.

        Returns
        -------
        Distribution
            Log-probabilities of the vocabulary, entropy, and the likeliest tokens.

        Raises
        ------
        LabError, TypeError
            As `chat` does.
        """
        from .models.chat.next_token import next_token

        return next_token(self, prompt, **options)

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
        from .trace.run.run import trace

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
        from .trace.run.activations import activations

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
        from .trace.run.attention_rows import attention_rows

        return attention_rows(self, trace, queries, layers=layers)

    def edit(
        self,
        edit: Edit | None = None,
        *,
        ablate_experts: Experts = (),
        boost_experts: Boosts | None = None,
        force_experts: Experts = (),
        ablate_heads: Heads = (),
        knock_out_attention: AttentionKnockout | Iterable[AttentionKnockout] = (),
        patch: Patch | Activations | Iterable[Patch] = (),
        steer: Steering | Direction | Iterable[Steering | Direction] = (),
    ) -> EditContext:
        """Return a context manager that applies an edit: ``with lab.edit(ablate_experts={4: [17]}):``.

        Inside the block `chat`, `stream`, `trace` and the model itself run under the edit; leaving it
        restores the model exactly. Blocks may be nested: their edits are merged.

        Parameters
        ----------
        edit
            An `Edit`; the other arguments are merged into it.
        ablate_experts
            Experts that are never selected: layer → ids, or ids for every layer.
        boost_experts
            Nats added to the router's logits: layer → expert → nats, or expert → nats for every layer.
        force_experts
            Experts that are always selected: layer → ids, or ids for every layer.
        ablate_heads
            Query heads whose output is zero: layer → heads, or heads for every layer.
        knock_out_attention
            Queries whose attention to keys is blocked: a `gemma_lab.AttentionKnockout` or several.
        patch
            Activations of another run that replace the outputs of layers: a `gemma_lab.Patch` or several,
            made from the result of `activations`.
        steer
            Directions that are added to the outputs of layers: a `gemma_lab.Steering` with its strength, a
            `gemma_lab.Direction` (strength 1), or several; `direction` computes them.

        Raises
        ------
        BadEdit
            If a layer, an expert or a head does not exist; while the model runs, if a knockout leaves a
            token without any key.
        """
        from .trace.interventions.apply import editing

        return editing(
            self,
            edit,
            ablate_experts=ablate_experts,
            boost_experts=boost_experts,
            force_experts=force_experts,
            ablate_heads=ablate_heads,
            knock_out_attention=knock_out_attention,
            patch=patch,
            steer=steer,
        )

    @spelled_out(PromptOptions)
    def direction(
        self,
        positive: Sequence[PromptLike],
        negative: Sequence[PromptLike],
        *,
        layers: Iterable[int] | None = None,
        positions: Iterable[int] | None = (-1,),
        name: str = "",
        **options: Unpack[PromptOptions],
    ) -> Direction:
        """Compute a direction from contrasting prompts: the difference of their mean residual streams.

        Parameters
        ----------
        positive, negative
            Prompts that differ in what the direction is to stand for, as `chat` takes them. As many of each,
            in pairs that differ in nothing else, cancel out what they share.
        layers
            Layers of the decoder; all by default.
        positions
            Tokens of each prompt whose residual streams are averaged, negative ones from its end; None for
            all. Default: the last token, which decides what the answer begins with.
        name
            What the direction stands for.
        **options
            As for `chat`, for every prompt: ``raw=True``, ``system=…``.

        Returns
        -------
        Direction
            Its vectors are positive − negative; `edit` adds it with a strength.

        Raises
        ------
        BadEdit
            If a list is empty, a layer or position does not exist, or both lists are read alike.
        LabError, TypeError
            As `chat` does.

        Examples
        --------
        >>> happy = lab.direction(["I feel great.", "I won!"], ["I feel awful.", "I lost."], raw=True)
        >>> with lab.edit(steer=gl.Steering(happy, 2, layers=[3])):
        ...     lab.chat("How was your day?")
        """
        from .trace.run.directions import direction

        return direction(self, positive, negative, layers=layers, positions=positions, name=name, **options)

    def expert_direction(self, layer: int, expert: int) -> Direction:
        """Compute the direction that raises the router logit of one expert above those of the others.

        It is the expert's row of the router's matrix, times the router's scale, minus the mean of all rows,
        with length 1. The router of a layer reads the residual stream that the layer before it returns, plus
        its own layer's attention, so the direction belongs after the layer before.

        Parameters
        ----------
        layer
            Layer of the expert, from 1 on.
        expert
            Its number.

        Returns
        -------
        Direction
            One vector, after ``layer - 1``.

        Raises
        ------
        BadEdit
            If the model has no such expert, or no layer comes before its layer.
        """
        from .trace.run.directions import expert_direction

        return expert_direction(self, layer, expert)

    @spelled_out(PromptOptions)
    def causal_map(
        self,
        clean: PromptLike,
        corrupted: PromptLike,
        *,
        answer: str | Sequence[int] | None = None,
        answer_tokens: int = 1,
        patching: Patching = "denoising",
        parts: Part | Literal["all"] | Sequence[Part] = "residual",
        spans: int | Sequence[Span] | None = None,
        positions: Sequence[int] | None = None,
        method: Literal["exact", "gradient"] = "exact",
        controls: int | Iterable[PromptLike] = 19,
        seed: int = 0,
        batch_size: int | None = None,
        progress: bool = True,
        **options: Unpack[PromptOptions],
    ) -> CausalMap:
        """Patch every part of a run from another run, and measure what that does to the answer.

        Many patches are run in each forward pass, each from its layer and first token on. After an interrupt
        ``lab.last_causal_map`` has the cells so far; the others are NaN.

        Parameters
        ----------
        clean, corrupted
            Two prompts of equally many tokens that differ in what the answer depends on. Prompts with media
            are requests: ``lab.request(prompt, images=[…])``.
        answer
            What is measured: its log-probability after the prompt, summed over its tokens. Text or token ids;
            by default the beginning of the model's own greedy answer to the clean prompt.
        answer_tokens
            Number of tokens of that.
        patching
            ``"denoising"`` writes activations of the clean run into the corrupted one: what is enough for the
            answer. ``"noising"`` does it the other way round: what the answer needs.
        parts
            What is patched in every layer: ``"residual"`` (the residual stream after it), ``"attention"``,
            ``"mlp"`` (the dense branch), ``"experts"`` (their sum), each by span of tokens; ``"head"`` and
            ``"expert"``, each alone, at all `positions`; several of them, or ``"all"``.
        spans
            Spans of tokens: ``(start, stop)`` pairs, or how many tokens each has. By default one token each,
            or as many as make 128 spans.
        positions
            The tokens at which heads and experts are patched; negative ones count from the end, all by
            default.
        method
            ``"exact"`` runs every cell. ``"gradient"`` approximates all of them from one backward pass;
            `CausalMap.agreement` tells how well.
        controls
            How many controls to draw, in which patches come from runs that know nothing of the answer (see
            `CausalMap`), or a list of prompts of the same length to take. Each takes as long as the map. With
            19, a cell that stands out does so at p = 0.05, corrected for all cells of its part.
        seed
            Of the controls.
        batch_size
            Patches per forward pass at most. Default: what takes a third of the free memory.
        progress
            Show a progress bar.
        **options
            As for `chat`, for both prompts: those that decide what the model reads.

        Returns
        -------
        CausalMap
            A heat map, a table, and what stands out. `gemma_lab.CausalExplorer` opens the trace behind a
            cell.

        Raises
        ------
        BadPrompt
            If the prompts do not align, with their numbers of tokens.
        ContextFull, DoesNotFit
            If they cannot be read in one pass.
        LabError, TypeError
            If they do not differ, an edit is active, an argument is out of range, or as `chat` raises.

        Examples
        --------
        >>> clean = "The code of Zoe is 52. The code of Ben is 75. Tell me the code of Ben."
        >>> found = lab.causal_map(clean, clean.replace("75", "31"))
        >>> found.figure()
        """
        from .evals.causal.run import causal_map

        return causal_map(
            self,
            clean,
            corrupted,
            answer=answer,
            answer_tokens=answer_tokens,
            patching=patching,
            parts=parts,
            spans=spans,
            positions=positions,
            method=method,
            controls=controls,
            seed=seed,
            batch_size=batch_size,
            progress=progress,
            **options,
        )

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
        from .trace.run.logit_attribution import attribute_logit

        return attribute_logit(self, prompt, answer=answer, against=against, **options)

    def fine_tune(
        self,
        examples: Iterable[Any],
        *,
        targets: str | Sequence[str] = ("attention",),
        name: str = "adapter",
        rank: int = 8,
        alpha: float | None = None,
        learning_rate: float = 2e-4,
        steps: int | None = None,
        minutes: float | None = None,
        batch_size: int = 8,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        gradient_checkpointing: bool = False,
        on_progress: Callable[[TrainingProgress], Any] | None = None,
        progress: bool = True,
    ) -> Adapter:
        """Train a LoRA adapter on examples with PEFT, and make it the active one.

        The loss is on answers only. Their prompts are rendered as in `chat`, to the same token ids. The
        adapter is trained on the base model: an active adapter is replaced, and stays in `adapters`. After an
        interrupt ``lab.last_adapter`` is the adapter as far as it was trained, and no adapter is active.

        Parameters
        ----------
        examples
            Pairs ``(prompt, answer)``; or mappings with ``prompt`` and ``answer``, and as needed ``thinking``
            (the thoughts before the answer), ``calls``, and the options of `chat` that the model reads:
            ``images``, ``video``, ``audio``, ``system``, ``tools``, ``max_soft_tokens``, ``raw``; or
            ``{"messages": […]}`` whose last message is the model's; or a `Reply`. Each message of the model
            is one answer, with what precedes it as its prompt. A bare text is learned as a whole.
        targets
            What is trained: ``"attention"``, ``"mlp"`` (the dense feed-forward blocks), ``"experts"``,
            ``"router"``, ``"vision"``, ``"audio"``, or several of them.
        name
            Name of the adapter in `adapters`; a number is appended if there is one of that name.
        rank, alpha
            The update of each weight is ``alpha / rank · B @ A`` with factors of this rank. `alpha` is twice
            the rank by default.
        learning_rate
            Its maximum: it rises over the first twentieth of the run and falls to a tenth along a cosine.
        steps, minutes
            Number of updates, or time after which training ends; three passes over the examples by default.
        batch_size
            Examples per update.
        seed
            Of the adapter's first values and of the order of the examples.
        checkpoint
            Folder where the state is saved every minute, at an interrupt and at the end.
        resume
            Go on from the state in that folder, if there is one. With `steps`, the result is that of a run
            without interruption.
        gradient_checkpointing
            Compute layers again for the gradients instead of keeping their activations: less memory, about a
            third more time.
        on_progress
            Called with a `TrainingProgress` after every step.
        progress
            Show a progress bar, and in a notebook the loss curve while it grows.

        Returns
        -------
        Adapter
            Loss curve, targets, `Adapter.check`, `Adapter.merge`, `Adapter.save`.

        Raises
        ------
        MissingExtra
            Without PEFT (``pip install 'gemma_lab[fine-tuning]'``).
        DoesNotFit
            If training takes more memory than is free, estimated before it starts; the message has the
            numbers.
        LabError
            If a target does not exist in the model (the hint lists those that do), an example is of no known
            form, no example reaches a target, or the loss is not finite.
        BadPrompt, BadMedia, ContextFull
            As `chat` raises, with the index of the example.

        Warns
        -----
        AdapterWarning
            If a tensor had no gradient in any step, or the adapter changes nothing.

        Examples
        --------
        >>> adapter = lab.fine_tune([("What is XIV?", "14"), ("What is IX?", "9")], targets="attention")
        >>> adapter.check().passed
        True
        """
        from .models.fine_tuning.fine_tune import fine_tune

        return fine_tune(
            self,
            examples,
            targets=targets,
            name=name,
            rank=rank,
            alpha=alpha,
            learning_rate=learning_rate,
            steps=steps,
            minutes=minutes,
            batch_size=batch_size,
            seed=seed,
            checkpoint=checkpoint,
            resume=resume,
            gradient_checkpointing=gradient_checkpointing,
            on_progress=on_progress,
            progress=progress,
        )

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
            If no text is long enough, one has media, or the model passes no gradients.
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
        from .errors import BadEdit
        from .evals.lens_texts import DESCRIPTION, lens_corpus
        from .trace.interventions.apply import active_edit
        from .trace.lenses.fit import fit_jacobian_lens

        if active_edit(self.model):
            raise BadEdit("An edit is active; a lens is fitted on the model itself.", hint="Leave its block.")
        described = corpus or (DESCRIPTION if texts is None else "texts of the caller")
        self.jacobian_lens = fit_jacobian_lens(
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
        return self.jacobian_lens

    @property
    def adapters(self) -> Adapters:
        """The adapters of this lab, of which at most one is active: list, switch, load and unload them."""
        from .models.fine_tuning.adapters import adapters_of

        return adapters_of(self)

    @spelled_out(RequestOptions, max_new_tokens=32, temperature=0.0)
    def scan(
        self,
        prompt: PromptLike = None,
        *,
        draws: int = 99,
        progress: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Scan:
        """Answer a prompt and return what stands out in the run, on one page.

        The answer, its uncertain tokens, attention sinks, kinds of heads, the load of experts, the logit
        lens, and what the answer loses without the best heads and experts: each beside what chance or a
        control gives, with the number of tests that were corrected for.

        Parameters
        ----------
        prompt, **options
            As for `chat`, but by default the answer is at most 32 tokens long (``max_new_tokens=32``), and
            decoding is greedy (``temperature=0``). The seed is that of the random sets, too.
        draws
            Random sets of heads, and of experts, that are knocked out as controls: the prompt and its answer
            are read once for each. The smallest p value of both tests together is ``2 / (draws + 1)``. 0
            leaves the knock-outs out.
        progress
            Show a progress bar.

        Returns
        -------
        Scan
            A page; ``gl.ScanExplorer(scan)`` has the trace with it, in which each finding selects its tokens.

        Raises
        ------
        LabError, TypeError
            As `trace` does; also if `max_new_tokens` is 0.

        Examples
        --------
        >>> scan = lab.scan("Ada has a lemon. Ben has a pear. What has Ada?")
        >>> scan.finding("head knock-out").result
        """
        from .evals.scan.run import scan

        return scan(self, prompt, draws=draws, progress=progress, **options)

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
            token has, and the tokens that a feature is largest at.

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
        from .evals.sparse_autoencoders.fit import sae_fit

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
        DoesNotFit
            If its weights and their optimiser take more memory than is free.
        LabError
            If an argument is out of range, there are no prompts, or the loss is not finite.
        TypeError
            If an option does not exist.
        """
        from .evals.sparse_autoencoders.train import train_sae

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

    def checkup(
        self, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
    ) -> Checkup:
        """Evaluate the model on held-out questions with greedy decoding, and grade the answers.

        After an interrupt ``lab.last_checkup`` has the answers so far.

        Parameters
        ----------
        full
            All 200 questions per skill instead of the first 20.
        skills
            Names of skills; by default all that are asked once and whose modality the model has. ``"calls"``
            and ``"json"`` are asked without and with a grammar: ``checkup.structured`` compares both. Asked
            only if they are named, too: ``"large digits"`` (at 140, 280 and 560 soft tokens), ``"which"`` and
            ``"when"`` (of motion), and ``"instructions"`` (a system prompt that sets the form of the answer).
        progress
            Show a progress bar.

        Returns
        -------
        Checkup
            Scores with 95 % intervals, failures, a figure, and the skills that were left out, with reasons.

        Raises
        ------
        LabError
            If a skill does not exist.
        """
        from .evals.run import checkup

        return checkup(self, full=full, skills=skills, progress=progress)

    def speed(self, *, depths: Sequence[int] = (0, 512, 2048), repeats: int = 8) -> SpeedReport:
        """Measure the speed of prefill and decoding on this machine, and compare it with the plan.

        Parameters
        ----------
        depths
            Numbers of tokens in the cache at which to measure.
        repeats
            Number of decoding steps timed at each depth.

        Returns
        -------
        SpeedReport
            Measured and predicted speed; ``to_csv()`` gives rows of the shared table of runs.

        Raises
        ------
        LabError
            If a depth is beyond the context.
        """
        from .evals.timing import speed

        return speed(self, depths=depths, repeats=repeats)

    def needles(
        self,
        *,
        lengths: Sequence[int] = (128, 256, 512, 1024, 2048),
        depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        asked: int = 5,
        others: int = 9,
        seed: int = 0,
        progress: bool = True,
    ) -> Haystack:
        """Run a needle-in-a-haystack test: retrieve a fact at each depth of texts of each length.

        Parameters
        ----------
        lengths, depths
            The grid: tokens of the text, and the relative position of the fact in it.
        asked
            Questions per cell, each about a separate text.
        others, seed
            As for `gemma_lab.evals.needle_in_a_haystack.needle`.
        progress
            Show a progress bar.

        Returns
        -------
        Haystack
            Right answers per cell, a table and a figure.

        Raises
        ------
        LabError
            If the grid is empty, or a number out of range.
        ContextFull
            If a text does not fit the context.
        """
        from .evals.needle_in_a_haystack import needles

        return needles(
            self, lengths=lengths, depths=depths, asked=asked, others=others, seed=seed, progress=progress
        )


def load(
    name: str | Path | None = None,
    *,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: str | Path | None = None,
    quantization: Any = None,
    attn_implementation: str | None = None,
    adapter: str | Path | None = None,
    drafter: str | Path | None = None,
    tp_size: int | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Lab:
    """Load a Gemma 4 and its processor.

    Parameters
    ----------
    name
        An alias (``"26b-a4b-it"``), a hub id (``"google/gemma-4-26B-A4B-it"``), a mini (``"mini-moe"``) or a
        folder. Without one: the environment variable ``GEMMA_LAB_MODEL``, else ``"mini-moe"``.
    device
        ``"auto"`` is the GPU with the most free memory, else the CPU. Otherwise a device of torch.
    dtype
        ``"auto"``: bfloat16 on a GPU that has it; elsewhere float32 if it fits comfortably, else bfloat16.
        float16 is refused: Gemma 4 overflows in it.
    device_map
        Device map of accelerate, e.g. ``"auto"`` to spread the model over GPUs and RAM. Replaces `device`.
    offload_folder
        Folder to which accelerate may offload layers that fit on no device.
    quantization
        How weights are packed while they are read: ``"int8"`` or ``"int4"``, which pack every matrix of the
        decoder, fused experts included, on every device; ``"int4-g64"`` or
        ``gl.planning.integer_weights(4, group_size=64, embeddings=8)`` for other groups and for the embedding
        tables; or a library's ``"nf4"``, ``"bnb-int8"`` (bitsandbytes) or ``"torchao-int8"``, which leave
        experts in 16 bits. A checkpoint that is packed already needs none. ``lab.bits()`` counts the result.
    attn_implementation
        ``"sdpa"`` (transformers' choice), ``"eager"`` or ``"flex_attention"``.
    adapter
        Folder of an adapter that `Adapter.save` or PEFT wrote, of this base model; ``lab.adapters`` has it.
    drafter
        A small model that proposes tokens, which this one verifies together: ``"auto"`` for its own, a name
        or a folder. `Lab.chat`, `Lab.stream` and what builds on them then need fewer passes for the same
        answer; ``lab.drafter`` is the `Drafter`, ``reply.acceptance`` what it achieved. `Lab.trace` reads
        token by token, without it.
    tp_size
        Processes that share every matrix (tensor parallelism), all started by ``torchrun`` and all making the
        same calls. Excludes `device_map`, `offload_folder`, `quantization`, `adapter` and `drafter`;
        attention is not recorded, and heads are not edited, since each process has only its own.
    offline
        Forbid downloads. Default: whether ``GEMMA_LAB_OFFLINE`` or ``HF_HUB_OFFLINE`` is set. A hub model
        that is complete in the cache is used without a request to the hub, even online.
    progress
        Show progress bars for downloads and for weights of more than 200 MB.

    Returns
    -------
    Lab

    Raises
    ------
    UnknownModel
        If no model has this name.
    NotGemma4
        If the checkpoint is of another architecture, or a variant that cannot chat, such as a drafter.
    DoesNotFit
        If there is too little free memory, before anything is loaded; the message has the numbers.
    NotAvailable
        If the model is not on this machine, and downloads are impossible or forbidden.
    BadCheckpoint
        If its files are corrupt, incomplete or unsafe, or leave a weight of the model unset.
    BadDrafter
        If the drafter is of another model.
    TooOld, MissingExtra
        If a library must be upgraded or installed first.
    LabError
        If a quantisation, a dtype or a device does not exist, or not on this machine.

    Warns
    -----
    UserWarning
        If the quantisation left a fifth of the weights or more in 16 bits.
    """
    from .models.loading.load import load
    from .models.loading.tensor_parallel import check_tensor_parallel

    processes = check_tensor_parallel(
        tp_size, device_map=device_map, offload_folder=offload_folder, quantization=quantization,
        adapter=adapter, drafter=drafter,
    )  # fmt: skip
    if adapter is not None:  # a wrong folder should not cost a download
        from .models.fine_tuning.adapter_files import require_adapter

        require_adapter(adapter)
    if drafter is not None:
        from .models.drafting.load import find_drafter, load_drafter

        drafter_files = find_drafter(drafter, name, offline=offline)
    loaded = load(
        name,
        device=device,
        dtype=dtype,
        device_map=device_map,
        offload_folder=offload_folder,
        quantization=quantization,
        attn_implementation=attn_implementation,
        tp_size=processes,
        offline=offline,
        progress=progress,
    )
    lab = Lab(model=loaded.model, processor=loaded.processor, name=loaded.name, checkpoint=loaded.checkpoint)
    if drafter is not None:
        lab.drafter = load_drafter(drafter_files, lab)
    if adapter is not None:
        lab.adapters.load(adapter)
    return lab
