"""The chat widget: a conversation with a model, in the browser and from Python."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import LabError
from ...views.chat.chat import chat_html, chat_text
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.explorer import check_lab
from .composer import Composer, check_prompt
from .conversation import Conversation
from .settings import checked_settings, first_settings, sampling_options
from .tool_options import ToolOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ...lab import Lab
    from ...models.chat.reply import Reply
    from ...models.chat.sampling import Sampling
    from ...models.tool_use.runner import Approve, ToolRun
    from .answering import Answering
    from .conversation import Exchange


#: Options of `Lab.stream` that take media → their kind.
_MEDIA = {"images": "image", "video": "video", "audio": "audio"}


class Chat(Composer):
    """A conversation with a model in a notebook.

    Parameters
    ----------
    lab
        The model, from `gemma_lab.load`.
    system
        System prompt of the next conversation.
    sampling
        Initial values of the sampling settings; the models' defaults when omitted.
    max_new_tokens
        Longest answer, in tokens.
    thinking
        Whether the model generates a thought before its answer.
    seed
        Seed of every answer; a new one per answer when omitted. It is shown below the answer.
    tools
        Functions, `gemma_lab.McpServer` objects or declarations that the model may call, as for
        `gemma_lab.Lab.run`. Every call is a card, with its result folded below.
    approve
        Which calls wait for Run, Edit or Deny in the widget: True for all, names of tools for theirs, False
        or None for none, as in `gemma_lab.Lab.run`. A function decides about each call as it does there; None
        as its decision shows the card. The settings of the widget change it per tool.
    max_rounds
        Maximum number of replies to one prompt.
    timeout, max_result_chars
        Seconds per call, and maximum length of its result, characters.
    tool_choice
        Binds the calls of the first reply to their declarations, as for `gemma_lab.Lab.chat`.
    schema
        Binds every answer to JSON, as for `gemma_lab.Lab.chat`. The widget shows the object while it grows;
        ``chat.replies[-1].data`` is the value.

    Attributes
    ----------
    turns : list of dict
        The conversation as JSON values.
    settings : dict
        What the controls of the widget show.

    Raises
    ------
    LabError
        If a tool, a schema or an option is not valid; `gemma_lab.errors` has the kinds.

    Notes
    -----
    Answers to prompts from the browser are generated in a background thread, so the kernel stays responsive.
    `send` generates in the calling thread and shares the transcript.

    Examples
    --------
    >>> chat = Chat(lab)                      # in a cell: displays the widget
    >>> chat.send("What is 7 in German?")     # from Python, same conversation
    >>> Chat(lab, tools=[weather, delete_file], approve=["delete_file"])
    """

    _esm = bundle("chat/chat.js")
    _css = stylesheet(
        "shared/base.css", "shared/tints.css", "chat/tokens.css", "chat/chat.css", "chat/calls.css"
    )
    _messages = (
        "ask",
        "stop",
        "clear",
        "regenerate",
        "change_settings",
        "upload",
        "play_audio",
        "remove_attachment",
        "resume",
        "decide",
        "edit",
    )
    _busy_error = ("An answer is still being generated.", "Wait for it, or stop it: Esc, chat.stop().")

    #: The conversation as JSON values, see `gemma_lab.widgets.chat.turns`.
    turns = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: The cards of tool calls by the key of their turn, see `gemma_lab.widgets.chat.call_cards`.
    _calls = traitlets.Dict().tag(sync=True)
    #: temperature, top_p, top_k, max_new_tokens, seed, thinking, system, tint, ask.
    settings = traitlets.Dict().tag(sync=True)
    #: Name, context length and modalities of the model; tools and schema of the chat.
    _facts = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        lab: Lab,
        *,
        system: str | None = None,
        sampling: Sampling | None = None,
        max_new_tokens: int = 512,
        thinking: bool = False,
        seed: int | None = None,
        tools: Iterable[Any] = (),
        approve: bool | Iterable[str] | Approve | None = True,
        max_rounds: int = 8,
        timeout: float = 30.0,
        max_result_chars: int = 20_000,
        tool_choice: str | None = None,
        schema: Any = None,
    ) -> None:
        from ...models.chat.sampling import Sampling as _Sampling

        self._lab = check_lab(lab, "gl.Chat", verb="stream")
        self._tools = ToolOptions.of(
            tools,
            approve=approve,
            max_rounds=max_rounds,
            timeout=timeout,
            max_result_chars=max_result_chars,
            tool_choice=tool_choice,
            schema=schema,
        )
        self._conversation = Conversation(self._publish_turns, self._publish_calls)
        self._halt = threading.Event()
        self._answering: Answering | None = None
        super().__init__(
            _facts={
                "name": sendable(lab.name),
                "context": lab.context,
                "modalities": sorted(lab.modalities, key=("text", "image", "video", "audio").index),
                "drafter": getattr(lab, "drafter", None) is not None,
                **self._tools.facts(),
            },
            settings=first_settings(
                sampling or _Sampling(),
                system=system,
                max_new_tokens=max_new_tokens,
                thinking=thinking,
                seed=seed,
                ask=self._tools.ask,
                tools=tuple(self._tools.tools),
            ),
        )

    def __repr__(self) -> str:
        count = len(self.replies)
        return f"Chat({self._facts['name']}: {count} {'answer' if count == 1 else 'answers'})"

    def _static_fallback(self) -> tuple[str, str]:
        html = chat_html(self.turns, name=self._facts["name"], calls=self._calls)
        return html, f"{self!r}\n{chat_text(self.turns, calls=self._calls)}".rstrip()

    @property
    def replies(self) -> list[Reply]:
        """The answers of this conversation, oldest first, without failed ones."""
        exchanges = self._conversation.exchanges
        return [exchange.reply for exchange in exchanges if exchange.reply is not None]

    @property
    def runs(self) -> list[ToolRun]:
        """The answers of a chat with tools, oldest first: every reply with the executions of its calls."""
        return [exchange.run for exchange in self._conversation.exchanges if exchange.run is not None]

    # ── verbs ─────────────────────────────────────────────────────────────

    def send(
        self,
        text: str,
        *,
        images: Any = None,
        video: Any = None,
        audio: Any = None,
        approve: bool | Approve | None = None,
    ) -> Reply:
        """Send a prompt, wait for the answer, and return it; the views show its tokens as they come.

        Parameters
        ----------
        text
            The prompt.
        images
            An image, or a list of images, before the text: paths, bytes, open files, PIL images or arrays.
        video, audio
            A video and an audio clip, or lists of them, as for `Lab.chat`.
        approve
            Replaces that of the chat for this prompt: False runs all calls, a function decides about each.

        Raises
        ------
        LabError
            If an answer is still being generated; if calls wait for approval in the widget, where no click
            arrives while a cell runs; and as `Lab.stream` does.
        """
        prefix = f"sent{self._conversation.next_key()}-"
        attachments = self._decoded(prefix, images, video, audio)
        check_prompt(text, attachments)
        decide = self._tools.unattended(approve, self.settings["ask"])
        with self._running():
            self._halt.clear()
            return self._answer(self._conversation.open(text, attachments), decide=decide)

    def stop(self) -> None:
        """Stop the answer that is being generated, or the call that runs; everything so far stays.

        The thread of a call cannot be killed: it ends by itself, and its result is dropped.
        """
        self._halt.set()

    def clear(self) -> None:
        """Start a new conversation.

        Raises
        ------
        LabError
            If an answer is still being generated.
        """
        self._refuse_while_busy()
        self._conversation.clear()

    def regenerate(self, *, approve: bool | Approve | None = None) -> Reply:
        """Generate the last answer again and replace it.

        Parameters
        ----------
        approve
            As for `send`.

        Raises
        ------
        LabError
            If there is no prompt, and as `send` does.
        """
        decide = self._tools.unattended(approve, self.settings["ask"])
        with self._running():
            self._halt.clear()
            return self._answer(self._conversation.reopen(), decide=decide)

    def close(self) -> None:
        """Stop and remove every view."""
        self.stop()
        super().close()

    # ── one exchange ───────────────────────────────────────────────────────────────────────────────────

    def _end_run(self, runner: threading.Thread) -> None:
        """End the run, and an answer that was interrupted before it could begin."""
        if self._runner is runner:
            self._conversation.settle()
        super()._end_run(runner)

    def _publish_turns(self, turns: list[dict[str, Any]]) -> None:
        self.turns = turns

    def _publish_calls(self, cards: dict[str, list[dict[str, Any]]]) -> None:
        self._calls = cards

    def _answer(self, exchange: Exchange, *, decide: Approve | None = None, attended: bool = False) -> Reply:
        """Generate the answer to `exchange`, and replace its live turn in any case."""
        from .answering import Answering

        answering = self._answering = Answering(
            self._lab,
            exchange,
            conversation=self._conversation,
            post=self._post,
            halt=self._halt,
            runner=self._tools.runner(
                self._conversation.cards,
                asks=lambda: self.settings["ask"],
                decide=self._tools.decide if attended else decide,
                halt=self._halt,
                attended=attended,
            ),
            max_rounds=self._tools.max_rounds,
        )
        try:
            return answering.answer(**self._options(exchange))
        finally:
            self.error = answering.error

    def _options(self, exchange: Exchange) -> dict[str, Any]:
        """Return the options of `Lab.stream` for an answer."""
        before = self._conversation.before(exchange)
        return {
            **{name: exchange.media(kind) for name, kind in _MEDIA.items()},
            "system": (self.settings["system"] or None) if before is None else None,
            "previous": before,
            **sampling_options(self.settings),
            **self._tools.options(),
        }

    # ── messages of the views ───────────────────────────────────────────────────────────────────────

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text = str(content.get("text", ""))
        attachments = self._written(text)

        def opened() -> Exchange:
            exchange = self._conversation.open(text, attachments)
            self._empty()
            return exchange

        self._answer_in_background(opened, failed=self._return_prompt)

    def _on_regenerate(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self._answer_in_background(self._conversation.reopen, failed=lambda _exchange: None)

    def _answer_in_background(
        self, opened: Callable[[], Exchange], *, failed: Callable[[Exchange], None]
    ) -> None:
        exchanges: list[Exchange] = []

        def prepare() -> None:
            self._halt.clear()
            exchanges.append(opened())

        def work() -> None:
            try:
                self._answer(exchanges[0], attended=True)
            except Exception:  # `_answer` has shown it, and kept it in `error`
                if exchanges[0].reply is None:  # after calls that ran, the prompt is part of the conversation
                    failed(exchanges[0])

        self._in_background(work, prepare=prepare)

    def _on_stop(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.stop()

    def _on_decide(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Run or deny a call that waits; with ``always``, calls of its tool wait no more."""
        name = self._conversation.cards.decide(str(content.get("call")), str(content.get("decision")))
        if name and content.get("always") and content.get("decision") == "run":
            ask = [each for each in self.settings["ask"] if each != name]
            self.settings = {**self.settings, "ask": ask}

    def _on_edit(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Run a call that waits with other arguments, if its tool takes them."""
        self._conversation.cards.edit(str(content.get("call")), str(content.get("arguments")))

    def _on_clear(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.clear()

    def _on_play_audio(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send an audio clip that a view plays, as the model receives it."""
        for attachment in [*self._pending.all(), *self._conversation.attachments()]:
            if attachment.kind == "audio" and attachment.entry["id"] == content.get("id"):
                self._post({"type": "audio", "id": attachment.entry["id"]}, [attachment.medium.wav()])
                return

    def _on_change_settings(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Apply changed settings, or send the unchanged ones back to the views."""
        try:
            wanted = {**self.settings, **content.get("settings", {})}
            self.settings = checked_settings(wanted, tools=tuple(self._tools.tools))
        except LabError:
            self._post({"type": "settings", "settings": self.settings})
            raise

    def _on_resume(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the tokens so far, for a view that was opened during an answer."""
        live = self.turns[-1] if self.turns else {}
        if live.get("state") == "live" and self._answering is not None:
            self._answering.post_all(live["key"])
