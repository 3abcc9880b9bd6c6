"""`RemoteLab`, a model behind a server with the methods of a `gemma_lab.Lab` that a server can serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .checks import short_repr
from .display import Displayed
from .errors import LabError, NotTraced, ServerError
from .models.chat.options import RequestOptions, check_keywords
from .models.remote.model import ServedLanguageModel, connected
from .models.remote.software import EVERY_MODALITY
from .models.tool_use.methods import ToolMethods
from .trace.run.served_trace import LOAD_HINT, ServedTrace, served_trace

if TYPE_CHECKING:
    from .evals.report import Checkup
    from .models.chat.request_builder import PromptLike
    from .models.remote.reply import ServerReply
    from .models.remote.stream import ServerStream
    from .models.tool_use.runner import ToolRun


class RemoteLab(ServedLanguageModel, ToolMethods, Displayed):
    """A model behind an OpenAI-compatible server, with the methods of `Lab` that a server can serve.

    `gemma_lab.connect` returns one. What a server cannot show raises `NotTraced`. Answers are `ServerReply`
    objects; a lab's `Reply` has more. Parameters and attributes are those of `ServedLanguageModel`.
    """

    last_run: ToolRun | None = None
    last_checkup: Checkup | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.connection, self.served, self.modalities, self.extra)

    def chat(self, prompt: PromptLike = None, **options: Any) -> ServerReply:
        """Send a prompt and return the complete answer.

        Parameters
        ----------
        prompt, **options
            As for `Lab.chat`, with these differences: ``top_logprobs`` is 0 by default, since not every
            server has them; a stop string is not part of the answer; there is no ``max_soft_tokens``; and
            ``schema``, ``tool_choice``, ``seed`` and ``thinking`` hold as far as the server enforces them:
            ``reply.data`` checks.

        Returns
        -------
        ServerReply

        Raises
        ------
        ServerError
            If the server cannot be reached, refuses the request, or sends an empty or malformed answer.
        ContextFull, BadMedia
            If the server says that the prompt is too long, or that it does not take a medium.
        LabError, TypeError
            As `Lab.chat` does for wrong options.
        """
        check_keywords("chat", options, RequestOptions)
        return self.ask(prompt, options)

    def stream(self, prompt: PromptLike = None, **options: Any) -> ServerStream:
        """Send a prompt and return the answer as a stream of chunks; parameters as for `chat`.

        Returns
        -------
        ServerStream
            Iterate over it for chunks with ``.text`` and ``.kind``; afterwards ``.reply`` is the answer.
            Leaving the loop closes the connection, on which a server stops the model.
        """
        check_keywords("stream", options, RequestOptions)
        return self.open_stream(prompt, options)

    def complete(self, prompt: PromptLike, **options: Any) -> ServerReply:
        """Continue a text, or token ids, without the chat template: `chat` with ``raw=True``.

        The server needs ``/v1/completions``, which OpenAI's own API has no longer for its models.
        """
        check_keywords("complete", options, RequestOptions)
        return self.ask(prompt, {**options, "raw": True})

    def trace(
        self,
        prompt: PromptLike = None,
        *,
        experts: int | None = None,
        layers: int | Sequence[int] | None = None,
        top_k: int | None = None,
        attention: Any = False,
        logit_lens: Any = False,
        edit: Any = None,
        **options: Any,
    ) -> ServedTrace:
        """Send a prompt and return the experts that the server reports for its tokens.

        ``gemma-lab serve`` reports them on request; vLLM and SGLang if they were started with
        ``--enable-return-routed-experts``.

        Parameters
        ----------
        prompt, **options
            As for `chat`; ``max_new_tokens`` is 1 by default, greedy: a server always answers.
        experts, layers, top_k
            Of the model: experts per layer, its layers with experts, experts per token. By default what the
            server says, or the published architecture of a model of that name.
        attention, logit_lens, edit
            Raise `NotTraced`: no server has them.

        Returns
        -------
        ServedTrace
            Its ``routing`` has ids without weights.

        Raises
        ------
        NotTraced
            If the server reports no experts, or something is asked for that no server has.
        BadTrace
            If what it reports contradicts itself or the numbers of tokens.
        """
        for name, value in (("attention", attention), ("logit_lens", logit_lens), ("edit", edit)):
            if value is not None and value is not False:
                raise NotTraced(f"No server has {name}.", hint=LOAD_HINT)
        check_keywords("trace", options, RequestOptions)
        options = {"max_new_tokens": 1, "temperature": 0.0} | options
        made = self.read_experts(
            self.ask(prompt, options, experts=True), experts=experts, layers=layers, top_k=top_k
        )
        if made.routing is None:
            raise NotTraced(
                f"{self.connection.base} reported no experts of {self.name}.",
                hint="vLLM and SGLang need --enable-return-routed-experts, and the model needs experts.",
            )
        return made

    def read_experts(
        self,
        reply: ServerReply,
        *,
        experts: int | None = None,
        layers: int | Sequence[int] | None = None,
        top_k: int | None = None,
    ) -> ServedTrace:
        """Return the experts that a server reported with an answer; parameters as for `trace`.

        Returns
        -------
        ServedTrace
            Its ``routing`` is None if the server reported none.

        Raises
        ------
        BadTrace
            If what it reports contradicts itself or the numbers of tokens.
        """
        return served_trace(
            reply,
            experts=self.served.experts if experts is None else experts,
            layers=layers,
            top_k=top_k,
        )

    def checkup(
        self, *, full: bool = False, skills: Sequence[str] | None = None, progress: bool = True
    ) -> Checkup:
        """Ask the held-out questions of the check-up through the server, and grade the answers.

        It is an acceptance test of an installation: whether images arrive, tools are called, long prompts
        fit. An empty or malformed answer counts as wrong; a server that cannot be reached ends the check-up,
        and ``lab.last_checkup`` has the answers so far. Parameters and result are those of `Lab.checkup`.
        """
        from .evals.run import checkup

        examined = _Examined(self)
        try:
            return checkup(examined, full=full, skills=skills, progress=progress)  # type: ignore[arg-type]
        finally:
            self.last_checkup = examined.last_checkup

    @property
    def tokenizer(self) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server does not give its tokenizer.", hint=LOAD_HINT)

    def edit(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A served model cannot be edited.", hint=LOAD_HINT)

    def next_token(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`; ``chat(…, top_logprobs=20)`` has the likeliest tokens."""
        raise NotTraced(
            "A server reports no whole distribution.",
            hint="lab.chat(…, top_logprobs=20) has the likeliest tokens.",
        )

    def activations(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server reports no activations.", hint=LOAD_HINT)

    def causal_map(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A served model cannot be patched.", hint=LOAD_HINT)

    def attribute_logit(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server reports no activations.", hint=LOAD_HINT)

    def attention_rows(self, *_: Any, **__: Any) -> Any:
        """Not served: raises `NotTraced`."""
        raise NotTraced("A server reports no attention.", hint=LOAD_HINT)

    def facts(self) -> dict[str, str]:
        """Return what the server says of the model, by name."""
        context = self.served.context
        return {
            "server": self.connection.base,
            "software": self.served.software or "not told",
            "modalities": "+".join(sorted(self.modalities))
            + (
                ""
                if self.served.modalities is not None or self.modalities != EVERY_MODALITY
                else " (not told)"
            ),
            "context": "not told" if context is None else f"{context:,} tokens",
        } | ({} if self.served.experts is None else {"experts": str(self.served.experts)})

    def __repr__(self) -> str:
        return f"RemoteLab({self.name}: {', '.join(f'{key} {value}' for key, value in self.facts().items())})"


def connect(
    url: str,
    model: str | None = None,
    *,
    token: str | None = None,
    timeout: float = 120.0,
    modalities: Iterable[str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> RemoteLab:
    """Connect to a model behind an OpenAI-compatible server.

    It works with ``gemma-lab serve``, vLLM, SGLang, llama.cpp, Ollama, LM Studio and hosted services. Nothing
    but the list of models is asked for until the first request. torch is not needed.

    Parameters
    ----------
    url
        Address of the server: ``"http://localhost:8000"``, with or without ``/v1``.
    model
        Name of the model at the server; may be left out if it serves one.
    token
        The server's token or API key.
    timeout
        Seconds without a byte from the server after which a request fails; prefill of a long prompt counts.
        A busy server (429, 503) is asked again four times, a failed connection likewise.
    modalities
        What the model takes, of ``"text"``, ``"image"``, ``"video"``, ``"audio"``. Default: what the server
        says, or all where it says nothing.
    extra
        Fields to add to every request: ``{"nvext": {"extra_fields": ["routed_experts"]}}``.

    Returns
    -------
    RemoteLab

    Raises
    ------
    ServerError
        If the server cannot be reached, or refuses the token.
    UnknownModel
        If it has no such model, or several and none was named.
    MissingExtra
        Without httpx (extra ``remote``).

    Examples
    --------
    >>> lab = gl.connect("http://localhost:8000")
    >>> lab.chat("What is 7 + 5?", temperature=0).text
    '12'
    """
    chosen = None if modalities is None else frozenset(modalities) | {"text"}
    if chosen is not None and not chosen <= EVERY_MODALITY:
        raise LabError(
            f"modalities={short_repr(modalities)} are not all known.",
            hint=f"Of: {', '.join(sorted(EVERY_MODALITY))}.",
        )
    if extra is not None and not isinstance(extra, Mapping):
        raise LabError(f"extra={short_repr(extra)} is no mapping.", hint='For example {"min_p": 0.05}.')
    connection, served = connected(url, model, token=token, timeout=timeout)
    return RemoteLab(connection, served, modalities=chosen, extra=extra)


def _restored(connection: Any, served: Any, modalities: Any, extra: Any) -> RemoteLab:
    return RemoteLab(connection, served, modalities=modalities, extra=extra)


class _Examined:
    """A remote lab in a check-up: an answer with status 200 that is none is a wrong answer, not the end."""

    def __init__(self, lab: RemoteLab) -> None:
        self._lab = lab
        self.name, self.modalities = lab.name, lab.modalities
        self.last_checkup: Checkup | None = None

    def chat(self, prompt: Any = None, **options: Any) -> ServerReply:
        """Ask; return what was wrong in the place of an answer that is none."""
        from .models.remote.answers import Answer

        try:
            return self._lab.chat(prompt, **options)
        except ServerError as error:
            if error.status != 200:
                raise
            empty = self._lab.reply_of(
                self._lab.request(prompt, **options), Answer(), seconds=0.0, stopped=True
            )
            return replace(empty, text=f"[no answer: {error.what}]")
