"""One look: an answer, and behind each token what was looked at, which experts ran, what layers said."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadTrace, LabError
from ...views.trace.token_summary import answer_of, glance_html, glance_text
from ..shared.base import LabWidget, module, sendable, stylesheet
from ..shared.images import shrunk
from ..shared.packed_page import write_packed
from ..shared.wire import token_buffer
from .wire import glance_buffer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...lab import Lab
    from ...trace.trace import Trace

#: Longest answer to a question asked in the widget, in tokens.
_ANSWER = 48


class Explorer(LabWidget):
    """An answer with everything that stands behind each of its tokens, linked by one selection.

    Pointing at a token lights what the row that decided it looked at: words, patches of a picture, stretches
    of a sound, frames of a video. Beside them stand the heads that looked hardest, the experts of every
    layer, and what each layer would have said.

    Parameters
    ----------
    trace
        What ``lab.trace(prompt, max_new_tokens=…, attention=True, logit_lens=True)`` returned; one of attention, routing
        and lens is enough.
    lab
        The model, if questions are to be asked from here.

    Attributes
    ----------
    selected_tokens : list of int
        Tokens that stay lit; the last of them is read when the pointer is elsewhere. It can be set, and
        linked with that of `RoutingExplorer` and `AttentionExplorer` by ``traitlets.link``.

    Raises
    ------
    BadTrace
        If a trace has none of the three.

    Examples
    --------
    >>> trace = lab.trace("Ada has a lemon. What has Ada?", max_new_tokens=6, attention=True, logit_lens=True)
    >>> explorer = gl.Explorer(trace, lab=lab)
    >>> explorer.selected_tokens = [21]
    >>> explorer.to_html("one_look.html")
    """

    _esm = module("explorer.js")
    _css = stylesheet("base.css", "routing.css", "explorer.css")
    _intents = ("select", "ask")

    facts = traitlets.Dict().tag(sync=True)
    table = traitlets.Bytes().tag(sync=True)
    glance = traitlets.Bytes().tag(sync=True)
    pictures = traitlets.List(traitlets.Dict()).tag(sync=True)
    selected_tokens = traitlets.List(traitlets.Int()).tag(sync=True)
    heard = traitlets.Dict().tag(sync=True)
    busy = traitlets.Bool(default_value=False).tag(sync=True)
    can_run = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, trace: Trace, *, lab: Lab | None = None) -> None:
        self._lab, self._epoch = lab, 0
        self._trace = trace
        self._gate = threading.Lock()
        #: The exception of the last question in the background that failed unexpectedly, or None.
        self.error: BaseException | None = None
        super().__init__(can_run=lab is not None, **self._payload(trace))

    def __repr__(self) -> str:
        return f"Explorer({self._trace!r})"

    def _twin(self) -> tuple[str, str]:
        return glance_html(self._trace, tokens=self.selected_tokens), glance_text(self._trace)

    @property
    def trace(self) -> Trace:
        """The trace that is shown."""
        return self._trace

    def ask(
        self, prompt: str | list[dict[str, Any]], *, max_new_tokens: int = _ANSWER, **options: Any
    ) -> Trace:
        """Ask the model, and show the answer with what stands behind it.

        Parameters
        ----------
        prompt, **options
            As `Lab.trace` takes them; attention and lens are kept unless they say otherwise.
        max_new_tokens
            Longest answer, in tokens.

        Returns
        -------
        Trace

        Raises
        ------
        LabError
            If the explorer has no model, or it is running already.
        """
        if self._lab is None:
            raise LabError(
                "This explorer has no model to ask.", hint="Make it with Explorer(trace, lab=lab)."
            )
        if not self._gate.acquire(blocking=False):
            raise LabError("The model is running for this explorer.", hint="Wait for it.")
        try:
            self.busy = True
            trace = self._lab.trace(
                prompt, max_new_tokens=max_new_tokens, **{"attention": True, "logit_lens": True} | options
            )
            with self.hold_sync():
                self.selected_tokens = []  # they are checked against the trace, so they go before it
                self._trace = trace
                for name, value in self._payload(trace).items():
                    setattr(self, name, value)
        finally:
            self.busy = False
            self._gate.release()
        return trace

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        html, _ = self._twin()
        state = {
            "facts": self.facts, "table": self.table, "glance": self.glance, "pictures": self.pictures,
            "selected_tokens": self.selected_tokens, "busy": False, "can_run": False,
        }  # fmt: skip
        return write_packed(
            path, state, {}, title=f"One look: {self.facts['name']}", twin=html, program="explorer_page.js",
            style=self._css,
        )  # fmt: skip

    def _payload(self, trace: Trace) -> dict[str, Any]:
        known = [name for name in ("attention", "routing", "logit_lens") if getattr(trace, name) is not None]
        if not known:
            raise BadTrace(
                "This trace holds neither attention nor routing nor a lens.",
                hint="lab.trace(prompt, max_new_tokens=8, attention=True, logit_lens=True)",
            )
        self._epoch += 1
        return {
            "facts": {
                "epoch": self._epoch,
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "tokens": len(trace),
                "answer": answer_of(trace)[0],
                "known": known,
            },
            "table": token_buffer(trace.tokens),
            "glance": glance_buffer(trace),
            "pictures": [shrunk(image) for image in trace.images],
        }

    @traitlets.validate("selected_tokens")
    def _check_tokens(self, proposal: dict[str, Any]) -> list[int]:
        wrong = [token for token in proposal["value"] if not 0 <= token < len(self._trace)]
        if wrong:
            raise LabError(
                f"There is no token {wrong[0]} in this trace.", hint=f"It has 0 to {len(self._trace) - 1:,}."
            )
        return [int(token) for token in dict.fromkeys(proposal["value"])]

    def _on_select(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Take over the selection of a view."""
        try:
            self.selected_tokens = content.get("tokens", [])
        finally:  # also when it was refused: the view takes over what holds
            self.heard = {"view": str(content.get("view", "")), "turn": content.get("turn", 0)}

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text = str(content.get("text", ""))
        if not text.strip():
            raise LabError("There is nothing to ask.", hint="Write a question.")

        def work() -> None:
            self.error = None
            try:
                self.ask(text)
            except LabError as error:
                self._notify(error)
            except Exception as error:  # shown, and kept for whoever looks: a thread has no caller
                self.error = error
                self._notify(LabError(f"{type(error).__name__}: {error}", hint="explorer.error holds it."))

        threading.Thread(target=work, name="gemma_lab-look", daemon=True).start()
