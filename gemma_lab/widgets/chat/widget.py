"""The chat widget: a conversation with a model, in the browser and from Python."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadPrompt, LabError
from ...models.chat.media_arguments import media_list
from ...models.loading.restore import RestoreStack
from ...views.chat.chat import chat_html, chat_text
from ..shared.base import BatchSender, LabWidget, sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.explorer import check_lab
from .attachments import Attachments, decoded
from .settings import checked_settings, first_settings
from .turns import done_turn, failed_turn, live_turn, packed, user_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lab import Lab
    from ...models.chat.reply import Reply
    from ...models.chat.sampling import Sampling
    from .attachments import Attachment


_INTERRUPTED = LabError("Interrupted before the first token.")


@dataclass
class _Exchange:
    """One prompt and its answer."""

    key: int
    text: str
    attachments: list[Attachment]
    reply: Reply | None = None
    shown: list[dict[str, Any]] = field(default_factory=list)

    def media(self, kind: str) -> list[Any]:
        """Return its media of one kind, in their order."""
        return [each.medium for each in self.attachments if each.kind == kind]


class Chat(LabWidget):
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

    Notes
    -----
    Answers to prompts from the browser are generated in a background thread, so the kernel stays responsive.
    `send` generates in the calling thread and shares the transcript.

    Examples
    --------
    >>> chat = Chat(lab)                      # in a cell: displays the widget
    >>> chat.send("What is 7 in German?")     # from Python, same conversation
    """

    _esm = bundle("chat/chat.js")
    _css = stylesheet("shared/base.css", "chat/tokens.css", "chat/chat.css")
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
    )
    _busy_error = ("An answer is still being generated.", "Wait for it, or stop it: Esc, chat.stop().")

    #: The conversation as JSON values, see `gemma_lab.widgets.chat.turns`.
    turns = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: Media of the next prompt.
    _attachments = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: A prompt that failed, returned to the composer: text and count.
    _returned = traitlets.Dict().tag(sync=True)
    #: temperature, top_p, top_k, max_new_tokens, seed, thinking, system, tint.
    settings = traitlets.Dict().tag(sync=True)
    #: Name, context length and modalities of the model.
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
    ) -> None:
        from ...models.chat.sampling import Sampling as _Sampling

        self._lab = check_lab(lab, "gl.Chat", verb="stream")
        self._exchanges: list[_Exchange] = []
        self._pending = Attachments()
        self._halt = threading.Event()
        self._sender: BatchSender | None = None
        self._next_key = 0
        super().__init__(
            _facts={
                "name": sendable(lab.name),
                "context": lab.context,
                "modalities": sorted(lab.modalities, key=("text", "image", "video", "audio").index),
            },
            settings=first_settings(
                sampling or _Sampling(),
                system=system,
                max_new_tokens=max_new_tokens,
                thinking=thinking,
                seed=seed,
            ),
        )

    def __repr__(self) -> str:
        count = len(self.replies)
        return f"Chat({self._facts['name']}: {count} {'answer' if count == 1 else 'answers'})"

    def _static_fallback(self) -> tuple[str, str]:
        return chat_html(self.turns, name=self._facts["name"]), f"{self!r}\n{chat_text(self.turns)}".rstrip()

    @property
    def replies(self) -> list[Reply]:
        """The answers of this conversation, oldest first, without failed ones."""
        return [exchange.reply for exchange in self._exchanges if exchange.reply is not None]

    # ── verbs ─────────────────────────────────────────────────────────────

    def send(self, text: str, *, images: Any = None, video: Any = None, audio: Any = None) -> Reply:
        """Send a prompt, wait for the answer, and return it; the views show its tokens as they come.

        Parameters
        ----------
        text
            The prompt.
        images
            An image, or a list of images, before the text: paths, bytes, open files, PIL images or arrays.
        video, audio
            A video and an audio clip, or lists of them, as for `Lab.chat`.

        Raises
        ------
        LabError
            If an answer is still being generated, and as `Lab.stream` does.
        """
        prefix = f"sent{self._next_key}-"
        attachments = decoded("image", media_list("image", images), prefix=prefix)
        attachments += decoded("video", media_list("video", video), prefix=prefix, frames=self._frames())
        attachments += decoded("audio", media_list("audio", audio), prefix=prefix)
        _check_prompt(text, attachments)
        with self._running():
            return self._answer(self._open(text, attachments))

    def stop(self) -> None:
        """Stop the answer that is being generated; its tokens so far stay in the conversation."""
        self._halt.set()

    def clear(self) -> None:
        """Start a new conversation.

        Raises
        ------
        LabError
            If an answer is still being generated.
        """
        self._refuse_while_busy()
        self._exchanges.clear()
        self.turns = []

    def regenerate(self) -> Reply:
        """Generate the last answer again and replace it.

        Raises
        ------
        LabError
            If there is no prompt, or an answer is still being generated.
        """
        with self._running():
            return self._answer(self._reopen())

    def close(self) -> None:
        """Stop and remove every view."""
        self.stop()
        super().close()

    # ── one exchange ───────────────────────────────────────────────────────────────────────────────────

    def _frames(self) -> int | None:
        """Return the most frames of a video that the model takes; None if it does not declare any."""
        from ...models.chat.request_builder import frame_limit

        return frame_limit(self._lab)

    def _open(self, text: str, attachments: list[Attachment]) -> _Exchange:
        """Show a prompt, and below it an answer in progress."""
        exchange = _Exchange(self._key(), text, attachments)
        self._exchanges.append(exchange)
        self._show_prompt(exchange)
        return exchange

    def _reopen(self) -> _Exchange:
        """Show the last prompt with an answer in progress."""
        if not self._exchanges:
            raise LabError("There is no prompt yet.", hint="Send one first.")
        exchange = self._exchanges[-1]
        exchange.reply = None
        self._show_prompt(exchange)
        return exchange

    def _end_run(self, runner: threading.Thread) -> None:
        """End the run, and an answer that was interrupted before it could begin."""
        if self._runner is runner:
            self._exchanges[:] = [exchange for exchange in self._exchanges if exchange.shown]
            for exchange in self._exchanges:
                prompt, turn = exchange.shown
                if turn.get("state") == "live":
                    self._show(exchange, [prompt, failed_turn(turn["key"], _INTERRUPTED, [])])
        super()._end_run(runner)

    def _key(self) -> int:
        self._next_key += 1
        return self._next_key

    def _show_prompt(self, exchange: _Exchange) -> None:
        self._halt.clear()
        entries = [each.entry for each in exchange.attachments]
        self._show(exchange, [user_turn(exchange.key, exchange.text, entries), live_turn(self._key())])

    def _show(self, exchange: _Exchange, turns: list[dict[str, Any]]) -> None:
        exchange.shown = turns
        self.turns = [turn for each in self._exchanges for turn in each.shown]

    def _answer(self, exchange: _Exchange) -> Reply:
        """Generate the answer to `exchange`, and replace its live turn in any case."""
        prompt, live = exchange.shown
        key = live["key"]
        final = live
        before = self._lab.last_reply

        def deliver(at: int, batch: list[Any]) -> None:
            self._post({"type": "tokens", "key": key, "at": at, "tokens": batch})

        with RestoreStack() as restore:
            restore.undo(lambda: self._show(exchange, [prompt, final]))
            sender = self._sender = BatchSender(deliver)
            restore.undo(sender.close)
            try:
                exchange.reply = self._generate(exchange, sender)
                final = done_turn(key, exchange.reply)
                return exchange.reply
            except KeyboardInterrupt:
                partial = self._lab.last_reply
                if partial is not None and partial is not before:
                    exchange.reply = partial
                    final = done_turn(key, partial)
                else:
                    final = failed_turn(key, _INTERRUPTED, sender.items())
                raise
            except Exception as error:
                self.error = error
                final = failed_turn(key, _shown_error(error), sender.items())
                raise

    def _generate(self, exchange: _Exchange, sender: BatchSender) -> Reply:
        """Stream one answer into `sender`; return the reply, partial if it was stopped."""
        settings = self.settings
        before = [each.reply for each in self._exchanges if each is not exchange and each.reply is not None]
        seed = settings["seed"]
        if seed is None and settings["temperature"] > 0:
            seed = random.getrandbits(31)  # drawn here, so that the turn shows it
        with self._lab.stream(
            exchange.text,
            images=exchange.media("image"),
            video=exchange.media("video"),
            audio=exchange.media("audio"),
            system=(settings["system"] or None) if not before else None,
            previous=before[-1] if before else None,
            thinking=settings["thinking"],
            temperature=settings["temperature"],
            top_p=settings["top_p"],
            top_k=settings["top_k"],
            seed=seed,
            max_new_tokens=settings["max_new_tokens"],
            stop=self._halt,
        ) as stream:
            for chunk in stream:
                sender.put(packed(chunk.tokens))
        return stream.reply

    # ── messages of the views ───────────────────────────────────────────────────────────────────────

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text, attachments = str(content.get("text", "")), self._pending.all()
        _check_prompt(text, attachments)
        opened: list[_Exchange] = []

        def prepare() -> None:
            opened.append(self._open(text, attachments))
            self._pending.clear()
            self._sync_attachments()

        def work() -> None:
            try:
                self._answer(opened[0])
            except Exception:  # `_answer` has shown it, and kept it in `error`
                self._return_prompt(opened[0])

        self._in_background(work, prepare=prepare)

    def _on_regenerate(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        opened: list[_Exchange] = []

        def work() -> None:
            with suppress(Exception):  # `_answer` has shown it, and kept it in `error`
                self._answer(opened[0])

        self._in_background(work, prepare=lambda: opened.append(self._reopen()))

    def _return_prompt(self, exchange: _Exchange) -> None:
        """Return a failed prompt to the composer, with its media."""
        for attachment in exchange.attachments:
            self._pending.put(attachment)
        self._sync_attachments()
        self._returned = {"text": sendable(exchange.text), "count": self._returned.get("count", 0) + 1}

    def _on_stop(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.stop()

    def _on_clear(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.clear()

    def _on_play_audio(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send an audio clip that a view plays, as the model receives it."""
        attachments = [*self._pending.all(), *(each for one in self._exchanges for each in one.attachments)]
        for attachment in attachments:
            if attachment.kind == "audio" and attachment.entry["id"] == content.get("id"):
                self._post({"type": "audio", "id": attachment.entry["id"]}, [attachment.medium.wav()])
                return

    def _on_upload(self, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            self._pending.receive(content, buffers, frames=self._frames())
        finally:
            self._sync_attachments()  # also when it was refused, so that views remove its placeholder

    def _on_remove_attachment(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self._pending.remove(str(content.get("id")))
        self._sync_attachments()

    def _sync_attachments(self) -> None:
        self._attachments = self._pending.entries()

    def _on_change_settings(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Apply changed settings, or send the unchanged ones back to the views."""
        try:
            self.settings = checked_settings({**self.settings, **content.get("settings", {})})
        except LabError:
            self._post({"type": "settings", "settings": self.settings})
            raise

    def _on_resume(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the tokens so far, for a view that was opened during an answer."""
        live = self.turns[-1] if self.turns else {}
        if live.get("state") == "live" and self._sender is not None:
            self._post({"type": "tokens", "key": live["key"], "at": 0, "tokens": self._sender.items()})


def _shown_error(error: Exception) -> LabError:
    if isinstance(error, LabError):
        return error
    hint = "This error was not expected; chat.error holds the exception."
    return LabError(f"{type(error).__name__}: {error}", hint=hint)


def _check_prompt(text: str, attachments: list[Attachment]) -> None:
    if not text.strip() and not attachments:
        raise BadPrompt("The prompt is empty.", hint="Write a question, or attach an image.")
