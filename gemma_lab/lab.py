"""The object a notebook holds: one loaded Gemma 4 with its processor, and the verbs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .models.loading.loaded_model import LoadedModel

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np

    from .evals.report import Checkup
    from .interventions.apply import EditContext
    from .interventions.attention_knockout import AttentionKnockout
    from .interventions.edit import Edit
    from .interventions.parsing import Boosts, Experts, Heads
    from .interventions.patch import Patch
    from .models.chat.cost import Cost
    from .models.chat.reply import Reply
    from .models.chat.sampling import Sampling
    from .models.chat.stream import Stream
    from .trace.records.activations import Activations
    from .trace.records.attention import AttentionRequest
    from .trace.records.logit_lens import LogitLensRequest
    from .trace.records.routing import Precision
    from .trace.trace import Trace


class Lab(LoadedModel):
    """A loaded Gemma 4 and the verbs on it.

    `gemma_lab.load` makes one; the constructor is for a model that you built or changed yourself. Parameters
    and attributes are those of `LoadedModel`.
    """

    last_reply: Reply | None
    last_checkup: Checkup | None
    interrupted_trace: Trace | None

    def chat(
        self,
        prompt: str | list[dict[str, Any]] | None = None,
        *,
        images: Iterable[Any] = (),
        video: Any = None,
        audio: Any = None,
        max_soft_tokens: int | None = None,
        system: str | None = None,
        previous: Reply | None = None,
        tools: Iterable[dict[str, Any] | Callable[..., Any]] | None = None,
        tool_results: Sequence[Any] | None = None,
        thinking: bool = False,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        max_new_tokens: int = 512,
        top_logprobs: int = 5,
        stop: threading.Event | None = None,
    ) -> Reply:
        """Ask, wait for the whole answer and return it.

        Parameters
        ----------
        prompt
            What the user says, or a whole conversation in the messages format of transformers. None only with
            `tool_results`.
        images
            Pictures for this turn: paths, bytes, PIL images, arrays ``(height, width[, channel])`` or
            open files. They go before the text, as the model card recommends.
        video
            A video for this turn, or a list of them: a path, bytes, frames with their rate ``(frames, 2.0)``,
            or what `gemma_lab.load_video` opened (which says how many frames are taken, from when to when).
        audio
            A sound for this turn, or a list of them: a path, bytes, samples with their rate
            ``(samples, 44_100)``, or what `gemma_lab.load_audio` opened. At most 30 s each.
        max_soft_tokens
            Soft tokens a picture, and a frame of a video, at most: 70, 140, 280, 560 or 1120; as the
            processor says when left out. It holds for all pictures and videos of the conversation.
        system
            The system prompt; only for the first turn.
        previous
            Continue the conversation of this reply. Replies do not change, so one can be continued twice.
        tools
            Functions that the model may call: Python functions with type hints, or declarations as OpenAI's.
            They are declared, never called: ``reply.calls`` says what the model asks for. Left out, those of
            `previous` stay declared.
        tool_results
            What the calls of `previous` gave, one a call in order: mappings or plain values.
        thinking
            Let the model think before it answers.
        sampling
            Temperature, top-p and top-k together; the family's recommendation when left out.
        temperature, top_p, top_k
            Single values to replace in `sampling`. A temperature of 0 is greedy.
        seed
            Makes the sampling repeatable; the global random state is never touched.
        max_new_tokens
            Where to cut the answer, in tokens.
        top_logprobs
            How many of the likeliest tokens to keep at each position.
        stop
            Set it from another thread to stop; the partial answer is returned.

        Returns
        -------
        Reply

        Raises
        ------
        ContextFull
            If the prompt fills the context by itself. An answer that reaches its end is cut (``"length"``).
        BadMedia
            If a medium cannot be read, or the model has no tower for it.
        BadPrompt
            If the messages are not in the chat format.
        """
        from .models.chat.chat import chat

        return chat(
            self,
            prompt,
            images=images,
            video=video,
            audio=audio,
            max_soft_tokens=max_soft_tokens,
            system=system,
            previous=previous,
            tools=tools,
            tool_results=tool_results,
            thinking=thinking,
            sampling=sampling,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            max_new_tokens=max_new_tokens,
            top_logprobs=top_logprobs,
            stop=stop,
        )

    def stream(
        self,
        prompt: str | list[dict[str, Any]] | None = None,
        *,
        images: Iterable[Any] = (),
        video: Any = None,
        audio: Any = None,
        max_soft_tokens: int | None = None,
        system: str | None = None,
        previous: Reply | None = None,
        tools: Iterable[dict[str, Any] | Callable[..., Any]] | None = None,
        tool_results: Sequence[Any] | None = None,
        thinking: bool = False,
        sampling: Sampling | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        max_new_tokens: int = 512,
        top_logprobs: int = 5,
        stop: threading.Event | None = None,
    ) -> Stream:
        """Ask and get the answer piece by piece.

        The parameters are those of `chat`. Leaving the loop, closing the stream or interrupting the cell
        stops the model; what it had said by then stays in `last_reply`.

        Returns
        -------
        Stream
            Iterate over it for chunks with ``.text`` and ``.kind``; afterwards ``.reply`` is the `Reply`.

        Raises
        ------
        ContextFull, BadMedia, BadPrompt
            As `chat` does.
        """
        from .models.chat.chat import stream

        return stream(
            self,
            prompt,
            images=images,
            video=video,
            audio=audio,
            max_soft_tokens=max_soft_tokens,
            system=system,
            previous=previous,
            tools=tools,
            tool_results=tool_results,
            thinking=thinking,
            sampling=sampling,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            max_new_tokens=max_new_tokens,
            top_logprobs=top_logprobs,
            stop=stop,
        )

    def cost(
        self,
        prompt: str | list[dict[str, Any]],
        *,
        images: Iterable[Any] = (),
        video: Any = None,
        audio: Any = None,
        max_soft_tokens: int | None = None,
        system: str | None = None,
        previous: Reply | None = None,
        tools: Iterable[dict[str, Any] | Callable[..., Any]] | None = None,
        thinking: bool = False,
        max_new_tokens: int = 0,
    ) -> Cost:
        """Return what a prompt would cost, without running it or encoding its media.

        Parameters
        ----------
        prompt, images, video, audio, max_soft_tokens, system, previous, tools, thinking
            As for `chat`: declared tools are part of the prompt, and those of `previous` stay declared.
        max_new_tokens
            Tokens of an answer to count with; 0 is the prompt alone.

        Returns
        -------
        Cost
            Tokens by medium, bytes of the key-value cache, and memory to read the prompt. A prompt that does
            not fit into the context is no error here: ``cost.fits`` says so.

        Raises
        ------
        BadPrompt, BadMedia
            As for `chat`.
        """
        from .models.chat.cost import cost

        return cost(
            self,
            prompt,
            images=images,
            video=video,
            audio=audio,
            max_soft_tokens=max_soft_tokens,
            system=system,
            previous=previous,
            tools=tools,
            thinking=thinking,
            max_new_tokens=max_new_tokens,
        )

    def trace(
        self,
        prompt: str | list[dict[str, Any]],
        *,
        images: Iterable[Any] = (),
        video: Any = None,
        audio: Any = None,
        max_soft_tokens: int | None = None,
        system: str | None = None,
        previous: Reply | None = None,
        thinking: bool = False,
        max_new_tokens: int = 0,
        temperature: float = 0.0,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        top_logprobs: int = 5,
        precision: Precision = "compact",
        edit: Edit | None = None,
        attention: bool | AttentionRequest = False,
        logit_lens: bool | Sequence[int] | LogitLensRequest = False,
        progress: bool = False,
    ) -> Trace:
        """Run the model on a prompt, and on an answer of its own, and return what it did.

        Logits and generated tokens are those of a run without tracing, bit for bit. A prompt of more than
        4,096 tokens, or that would take more memory than is free, is read in pieces, here as in `chat` and
        `stream` (`gemma_lab.models.chat.prefill_plan`), so that memory grows with its length. What whole pieces have
        read stays in ``lab.interrupted_trace`` when an interrupt or an error ends it.

        Parameters
        ----------
        prompt, images, video, audio, max_soft_tokens, system, previous, thinking
            As for `chat`.
        max_new_tokens
            Tokens to generate at most; 0 reads the prompt alone.
        temperature, top_p, top_k, seed
            How they are drawn; greedily by default.
        top_logprobs
            How many of the likeliest tokens to keep at each generated position.
        precision
            ``"compact"``, 28 bytes per token and layer with 8 of 128 experts, or ``"full"``, float32.
        edit
            A change of the model to apply meanwhile, on top of those that are active (`edit`).
        attention
            Keep where every head looked: True, or a `gemma_lab.AttentionRequest` of what exactly.
        logit_lens
            Where to keep what each layer would say: token numbers (negative ones count from the end of the
            prompt), a `gemma_lab.LensRequest`, or True for the last 64 tokens of the prompt and the answer.
        progress
            Show a progress bar.

        Returns
        -------
        Trace
            One row a token that the model read. The token that was chosen last was not read: it is in
            ``trace.generation`` only.

        Raises
        ------
        BadTrace
            If what a router says and what its experts are given disagree.
        ContextFull, BadPrompt, BadMedia, DoesNotFit
            As for `chat`.
        """
        from .trace.run.run import trace

        return trace(
            self,
            prompt,
            images=images,
            video=video,
            audio=audio,
            max_soft_tokens=max_soft_tokens,
            system=system,
            previous=previous,
            thinking=thinking,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            seed=seed,
            top_logprobs=top_logprobs,
            precision=precision,
            edit=edit,
            attention=attention,
            logit_lens=logit_lens,
            progress=progress,
        )

    def attention_rows(
        self, trace: Trace, queries: Iterable[int], *, layers: Iterable[int] | None = None
    ) -> dict[tuple[int, int], np.ndarray[Any, np.dtype[np.float32]]]:
        """Return rows of a trace's attention exactly, by reading its tokens once more.

        They are read as they were then, those of the answer one by one as far as the last query, under the
        edit that the trace was made under (patches included), which is taken off again.

        Parameters
        ----------
        trace
            Of this model, with or without attention. Its pictures must be in it; videos and sounds are not
            kept by any trace.
        queries
            Rows of its token table.
        layers
            Which; all by default.

        Returns
        -------
        dict
            Layer and query → float32 ``[heads, keys]``, see `gemma_lab.trace.records.attention.Attention.row`.

        Raises
        ------
        BadTrace
            If the trace is of another model, has media that it does not hold, tokens other than its prompt
            gives, or an edit that the model cannot be under.
        LabError
            If a query or a layer does not exist, or the lab is edited in another way than the trace was.
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
    ) -> EditContext:
        """Return a context in which the model is changed: ``with lab.edit(ablate_experts={4: [17]}):``.

        Inside the block `chat`, `stream`, `trace` and the model itself run under the edit; leaving it
        restores the model exactly. Blocks may be nested: what they change is merged.

        Parameters
        ----------
        edit
            An `Edit`; the others are merged into it.
        ablate_experts
            Experts that are never chosen: layer → ids, or ids for every layer.
        boost_experts
            Nats added to the router's logits: layer → expert → nats, or expert → nats for every layer.
        force_experts
            Experts that are always among the chosen: layer → ids, or ids for every layer.
        ablate_heads
            Query heads whose output is zero: layer → heads, or heads for every layer.
        knock_out_attention
            Queries that may not look at keys: a `gemma_lab.Cut` or several.
        patch
            What layers gave in another run, in the place of what they give: a `gemma_lab.Patch` or several,
            of what `gemma_lab.activations` read.

        Raises
        ------
        BadEdit
            If a layer, an expert or a head does not exist; while the model runs, if a cut leaves a token
            without anything to look at.
        """
        from .interventions.apply import editing

        return editing(
            self, edit, ablate_experts=ablate_experts, boost_experts=boost_experts,
            force_experts=force_experts, ablate_heads=ablate_heads, knock_out_attention=knock_out_attention,
            patch=patch,
        )  # fmt: skip

    def checkup(
        self, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
    ) -> Checkup:
        """Ask the held-out questions, greedily, and grade the answers.

        An interrupt ends it early: what was answered by then is in ``lab.last_checkup``.

        Parameters
        ----------
        full
            All 200 questions a skill instead of the first 20.
        skills
            Which skills; default all that the model has the modality for.
        progress
            Show a progress bar.

        Returns
        -------
        Checkup
            Scores with 95 % intervals, what went wrong, a figure, and what could not be asked and why.

        Raises
        ------
        LabError
            If there is no such skill.
        """
        from .evals.run import checkup

        return checkup(self, full=full, skills=skills, progress=progress)


def load(
    name: str | Path | None = None,
    *,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: str | Path | None = None,
    quantization: Any = None,
    attn_implementation: str | None = None,
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
        ``"auto"`` takes the GPU with the most free memory, else the CPU. Otherwise what torch takes.
    dtype
        ``"auto"``: bfloat16 on a GPU that has it; elsewhere float32 if it fits comfortably, else bfloat16.
        float16 is refused: Gemma 4 overflows in it.
    device_map
        For accelerate, e.g. ``"auto"``: spread over GPUs and RAM. Replaces `device`.
    offload_folder
        Where accelerate may put the layers that fit nowhere else.
    quantization
        Reserved; passing anything raises.
    attn_implementation
        ``"sdpa"`` (transformers' choice), ``"eager"`` or ``"flex_attention"``.
    offline
        Forbid downloads. Default: whether ``GEMMA_LAB_OFFLINE`` or ``HF_HUB_OFFLINE`` is set. A hub model
        that is complete in the cache is used as it is, and the hub is not asked, online too.
    progress
        Show progress bars for downloads and for weights of more than 200 MB.

    Returns
    -------
    Lab

    Raises
    ------
    UnknownModel
        If nothing is called `name`.
    NotGemma4
        If the checkpoint is of another architecture, or a relative that does not chat.
    DoesNotFit
        If the memory that is free is too little; said with the numbers, before anything is loaded.
    NotAvailable
        If it would have to be downloaded and cannot or must not be.
    BadCheckpoint
        If its files are corrupt, incomplete or unsafe, or leave a weight of the model unset.
    TooOld, MissingExtra
        If a library must be upgraded or installed first.
    """
    from .models.loading.load import load

    loaded = load(
        name,
        device=device,
        dtype=dtype,
        device_map=device_map,
        offload_folder=offload_folder,
        quantization=quantization,
        attn_implementation=attn_implementation,
        offline=offline,
        progress=progress,
    )
    return Lab(model=loaded.model, processor=loaded.processor, name=loaded.name, checkpoint=loaded.checkpoint)
