"""The chat widget: a conversation with a lab's model, in the browser and from Python at once."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadPrompt, LabError
from ...views.chat.chat import chat_html, chat_text
from ..shared.base import BatchSender, LabWidget, module, sendable, stylesheet
from .attachments import Tray, checked
from .settings import checked_settings, first_settings
from .turns import done_turn, failed_turn, live_turn, packed, user_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...lab import Lab
    from ...models.chat.reply import Reply
    from ...models.chat.sampling import Sampling
    from .attachments import Given


@dataclass
class _Exchange:
    """One question and what became of it."""

    key: int
    text: str
    given: list[Given]
    reply: Reply | None = None
    shown: list[dict[str, Any]] = field(default_factory=list)

    def media(self, kind: str) -> list[Any]:
        """Return its media of one kind, in their order."""
        return [given.medium for given in self.given if given.kind == kind]


class Chat(LabWidget):
    """A conversation that a notebook holds with a model.

    Parameters
    ----------
    lab
        The model to talk to.
    system
        System prompt of the next conversation.
    sampling
        How tokens are drawn; the family's defaults when omitted. The sliders start there.
    max_new_tokens
        Longest answer, in tokens.
    thinking
        Whether the model thinks before it answers.
    seed
        Seed of every answer; drawn anew for each when omitted, and shown below the answer either way.

    Notes
    -----
    Answers are written in a background thread, so the kernel stays free: Stop works, and so do other cells.
    `send` answers in the calling thread and shares the transcript.

    Examples
    --------
    >>> chat = Chat(lab)                      # in a cell: displays the widget
    >>> chat.send("What is 7 in German?")     # from Python, same conversation
    """

    _esm = module("chat.js")
    _css = stylesheet("base.css", "tokens.css", "chat.css")
    _intents = ("ask", "stop", "clear", "again", "set", "file", "listen", "discard", "resume")

    #: The conversation as plain values, see `gemma_lab.widgets.chat.turns`.
    turns = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: Media waiting for the next question.
    tray = traitlets.List(traitlets.Dict()).tag(sync=True)
    #: A question that failed, given back to the composer: text and count.
    unsent = traitlets.Dict().tag(sync=True)
    #: temperature, top_p, top_k, max_new_tokens, seed, thinking, system, tint.
    settings = traitlets.Dict().tag(sync=True)
    #: What the header says about the model.
    facts = traitlets.Dict().tag(sync=True)
    #: Whether an answer is being written.
    busy = traitlets.Bool(default_value=False).tag(sync=True)

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

        self._lab = lab
        self._exchanges: list[_Exchange] = []
        self._tray = Tray()
        self._gate = threading.Lock()
        self._halt = threading.Event()
        self._pump: BatchSender | None = None
        self._next_key = 0
        #: The exception of the last answer that failed, or None.
        self.error: BaseException | None = None
        super().__init__(
            facts={
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
        return f"Chat({self.facts['name']}: {count} {'answer' if count == 1 else 'answers'})"

    def _twin(self) -> tuple[str, str]:
        return chat_html(self.turns, name=self.facts["name"]), f"{self!r}\n{chat_text(self.turns)}".rstrip()

    @property
    def replies(self) -> list[Reply]:
        """The answers of this conversation, oldest first; failed ones are not among them."""
        return [exchange.reply for exchange in self._exchanges if exchange.reply is not None]

    # ── what Python and the browser can do ─────────────────────────────────────────────────────────────

    def send(self, text: str, *, images: Sequence[Any] = (), video: Any = None, audio: Any = None) -> Reply:
        """Ask, wait for the answer, and return it; the views show it as it is written.

        Parameters
        ----------
        text
            The question.
        images
            Pictures that go before it: paths, bytes, PIL images or arrays.
        video, audio
            A video and a sound that go before it, or a list of them, as for `Lab.chat`.

        Raises
        ------
        LabError
            Whatever `Lab.stream` raises, or if an answer is still being written.
        """
        prefix = f"sent{self._next_key}-"
        frames = self._frames()
        given = checked("image", images, prefix=prefix)
        given += checked("video", _several(video), prefix=prefix, frames=frames)
        given += checked("audio", _several(audio), prefix=prefix)
        return self._answer(self._begin(text, given))

    def stop(self) -> None:
        """Stop the answer that is being written; what is there stays in the conversation."""
        self._halt.set()

    def clear(self) -> None:
        """Begin a new conversation.

        Raises
        ------
        LabError
            If an answer is still being written.
        """
        with self._gate:
            self._refuse_while_busy()
            self._exchanges.clear()
            self.turns = []

    def regenerate(self) -> Reply:
        """Answer the last question again, in place of the last answer.

        Raises
        ------
        LabError
            If nothing has been asked, or an answer is still being written.
        """
        return self._answer(self._begin_again())

    def close(self) -> None:
        """Stop and remove every view."""
        self.stop()
        super().close()

    # ── one exchange ───────────────────────────────────────────────────────────────────────────────────

    def _refuse_while_busy(self) -> None:
        if self.busy:
            raise LabError(
                "An answer is still being written.", hint="Wait for it, or stop it: Esc, chat.stop()."
            )

    def _frames(self) -> int | None:
        """Return how many frames of a video the model looks at; None if it does not say."""
        from ...models.chat.prompt import frame_limit

        return frame_limit(self._lab)

    def _begin(self, text: str, given: list[Given]) -> _Exchange:
        if not text.strip() and not given:
            raise BadPrompt("There is nothing to send.", hint="Write a question, or add a picture.")
        with self._gate:
            self._refuse_while_busy()
            exchange = _Exchange(self._key(), text, given)
            self._exchanges.append(exchange)
            self._open_turn(exchange)
        return exchange

    def _begin_again(self) -> _Exchange:
        with self._gate:
            self._refuse_while_busy()
            if not self._exchanges:
                raise LabError("Nothing has been asked yet.", hint="Ask something first.")
            exchange = self._exchanges[-1]
            exchange.reply = None
            self._open_turn(exchange)
        return exchange

    def _key(self) -> int:
        self._next_key += 1
        return self._next_key

    def _open_turn(self, exchange: _Exchange) -> None:
        """Show the question and an answer about to be written."""
        self._halt.clear()
        self.error = None
        self.busy = True
        question = user_turn(exchange.key, exchange.text, [given.entry for given in exchange.given])
        self._show(exchange, [question, live_turn(self._key())])

    def _show(self, exchange: _Exchange, turns: list[dict[str, Any]]) -> None:
        exchange.shown = turns
        self.turns = [turn for each in self._exchanges for turn in each.shown]

    def _answer(self, exchange: _Exchange) -> Reply:
        """Write the answer to `exchange`, token by token, and settle its turn whatever happens."""
        question, live = exchange.shown
        key = live["key"]
        settled = live
        before = self._lab.last_reply

        def deliver(at: int, batch: list[Any]) -> None:
            self._post({"type": "tokens", "key": key, "at": at, "tokens": batch})

        self._pump = BatchSender(deliver)
        try:
            exchange.reply = self._generate(exchange, self._pump)
            settled = done_turn(key, exchange.reply)
            return exchange.reply
        except LabError as error:
            self.error = error
            settled = failed_turn(key, error, self._pump.items())
            raise
        except KeyboardInterrupt:
            partial = self._lab.last_reply
            if partial is not None and partial is not before:
                exchange.reply = partial
                settled = done_turn(key, partial)
            else:
                settled = failed_turn(
                    key, LabError("Interrupted before the first token."), self._pump.items()
                )
            raise
        except Exception as error:
            self.error = error
            surprise = LabError(
                f"{type(error).__name__}: {error}",
                hint="This is not an error gemma_lab expects; chat.error holds it, with its traceback.",
            )
            settled = failed_turn(key, surprise, self._pump.items())
            raise
        finally:
            self._pump.close()
            self._show(exchange, [question, settled])
            self.busy = False

    def _generate(self, exchange: _Exchange, pump: BatchSender) -> Reply:
        """Stream one answer into `pump`; return the reply, partial if it was stopped."""
        chosen = self.settings
        before = [each.reply for each in self._exchanges if each is not exchange and each.reply is not None]
        seed = chosen["seed"]
        if seed is None and chosen["temperature"] > 0:
            seed = random.getrandbits(31)  # drawn here, so that the answer says how to get it again
        with self._lab.stream(
            exchange.text,
            images=exchange.media("image"),
            video=exchange.media("video"),
            audio=exchange.media("audio"),
            system=(chosen["system"] or None) if not before else None,
            previous=before[-1] if before else None,
            thinking=chosen["thinking"],
            temperature=chosen["temperature"],
            top_p=chosen["top_p"],
            top_k=chosen["top_k"],
            seed=seed,
            max_new_tokens=chosen["max_new_tokens"],
            stop=self._halt,
        ) as stream:
            for chunk in stream:
                pump.put(packed(chunk.tokens))
        return stream.reply

    # ── intents of the front end ───────────────────────────────────────────────────────────────────────

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        exchange = self._begin(str(content.get("text", "")), self._tray.given())
        self._tray.take()
        self._sync_tray()
        self._in_background(exchange, give_back=True)

    def _on_again(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self._in_background(self._begin_again(), give_back=False)

    def _in_background(self, exchange: _Exchange, *, give_back: bool) -> None:
        """Answer in a thread of its own, so that the kernel can hear Stop meanwhile."""

        def work() -> None:
            try:
                self._answer(exchange)
            except Exception:
                if give_back:
                    self._give_back(exchange)

        threading.Thread(target=work, name="gemma_lab-chat", daemon=True).start()

    def _give_back(self, exchange: _Exchange) -> None:
        """Return a failed question to the composer, media and all."""
        for given in exchange.given:
            self._tray.put(given)
        self._sync_tray()
        self.unsent = {"text": sendable(exchange.text), "count": self.unsent.get("count", 0) + 1}

    def _on_stop(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.stop()

    def _on_clear(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self.clear()

    def _on_listen(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the sound that a view wants to play: what the model hears."""
        everything = [*self._tray.given(), *(given for each in self._exchanges for given in each.given)]
        for given in everything:
            if given.kind == "audio" and given.entry["id"] == content.get("id"):
                self._post({"type": "sound", "id": given.entry["id"]}, [given.medium.wav()])
                return

    def _on_file(self, content: dict[str, Any], buffers: Sequence[Any]) -> None:
        try:
            self._tray.receive(content, buffers, frames=self._frames())
        finally:
            self._sync_tray()  # also when it was refused: the views drop their "reading" mark

    def _on_discard(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        self._tray.discard(str(content.get("id")))
        self._sync_tray()

    def _sync_tray(self) -> None:
        self.tray = self._tray.entries()

    def _on_set(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Take changed settings, or put the views back to the ones that hold."""
        try:
            self.settings = checked_settings({**self.settings, **content.get("settings", {})})
        except LabError:
            self._post({"type": "settings", "settings": self.settings})
            raise

    def _on_resume(self, _content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the whole of the answer so far, for a view that was opened in the middle of it."""
        live = self.turns[-1] if self.turns else {}
        if live.get("state") == "live" and self._pump is not None:
            self._post({"type": "tokens", "key": live["key"], "at": 0, "tokens": self._pump.items()})


def _several(sources: Any) -> list[Any]:
    """Return a list of media: only a list is several, a tuple is one medium with its rate."""
    return sources if isinstance(sources, list) else [] if sources is None else [sources]
