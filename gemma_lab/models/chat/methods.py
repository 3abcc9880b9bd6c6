"""Methods of a lab that send a prompt: chat, stream, complete, request, cost and next token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..loading.loaded_model import LoadedModel
from .options import PromptOptions, RequestOptions, check_keywords, spelled_out

if TYPE_CHECKING:
    from typing import Unpack

    from .cost import Cost
    from .next_token import Distribution
    from .reply import Reply
    from .request import Request
    from .request_builder import PromptLike
    from .stream import Stream


class ChatMethods(LoadedModel):
    """Send prompts and read answers."""

    last_reply: Reply | None

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
        from .chat import chat

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
        from .chat import stream

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
        from .chat import chat

        check_keywords("complete", options, RequestOptions)
        return chat(self, prompt, **{**options, "raw": True})  # type: ignore[arg-type]

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
        from .request_builder import build_request

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
        from .cost import cost

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
        from .next_token import next_token

        return next_token(self, prompt, **options)
