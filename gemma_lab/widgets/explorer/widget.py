"""The combined explorer: attention, experts and logit lens of each token of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadEdit, BadPrompt, BadTrace, LabError, NotTraced
from ...views.trace.features import features_html
from ...views.trace.token_summary import answer_tokens, token_summary_html, token_summary_text
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.draws import draw_arrays
from ..shared.explorer import TraceExplorer, check_lab, check_trace
from ..shared.images import image_entry
from ..shared.saved_page import write_page
from ..shared.wire import token_buffer
from .steered_trace import SteeredTrace, recorded
from .wire import summary_buffer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...lab import Lab
    from ...trace.interventions.direction import Direction
    from ...trace.interventions.steering import Steering
    from ...trace.trace import Trace

#: Longest answer to a prompt sent from the widget, in tokens.
_MAX_NEW_TOKENS = 48


class Explorer(TraceExplorer):
    """An answer with the attention, the experts and the logit lens of each of its tokens.

    Pointing at a token highlights what the row that decided it attends to: words, patches of an image, spans
    of audio, frames of a video. Beside them are the heads with the heaviest weights, the experts of every
    layer, and the top words of every layer's logit lens. The text can be tinted by the probability of each
    generated token, by what a grammar forbade, or by a feature of a sparse autoencoder, instead of attention;
    the turns of the text fold.

    Parameters
    ----------
    trace
        Returned by ``lab.trace(prompt, max_new_tokens=…, attention=True, logit_lens=True)``; one of
        attention, routing and logit lens is enough.
    lab
        The model, to send prompts from the widget.
    steer
        A direction (`Lab.direction`) or a `Steering`: a slider sets its strength, and the prompt is run
        again with it. Needs `lab`.

    Attributes
    ----------
    strength : float
        Strength of the steering that the shown trace was recorded with; `steer` changes it.
    feature : int
        Feature of the trace's sparse autoencoder that tints the text; −1 for none.
    selected_tokens : list of int
        Tokens that stay highlighted; the last of them is shown while the pointer is elsewhere. It can be set,
        and linked with that of `RoutingExplorer` and `AttentionExplorer` by ``traitlets.link``.

    Raises
    ------
    BadTrace
        If the trace has none of the three.

    Examples
    --------
    >>> prompt = "Ada has the lemon. What does Ada have?"
    >>> trace = lab.trace(prompt, max_new_tokens=6, attention=True, logit_lens=True)
    >>> explorer = gl.Explorer(trace, lab=lab)
    >>> explorer.selected_tokens = [21]
    >>> explorer.to_html("explorer.html")
    >>> gl.Explorer(trace, lab=lab, steer=lab.direction(["I won!"], ["I lost."])).steer(2)
    """

    _esm = bundle("explorer/explorer.js")
    _css = stylesheet("shared/base.css", "shared/tints.css", "shared/view.css", "explorer/explorer.css")
    _messages = ("select", "ask", "steer")
    _selection = (("feature", "feature"), ("tokens", "selected_tokens"))

    feature = traitlets.Int(-1).tag(sync=True)
    strength = traitlets.Float(0.0, read_only=True).tag(sync=True)
    #: Name of the direction, the slider's largest strength and its step; empty without one.
    _steering = traitlets.Dict().tag(sync=True)
    #: ES module of a saved page, and what its title begins with.
    _program, _noun = "explorer/explorer_page.js", "Explorer"

    #: Model's name, number of tokens, first token of the answer, which records the trace holds.
    _facts = traitlets.Dict().tag(sync=True)
    #: Buffers: the tokens, and the summary of the rows behind them.
    _tokens = traitlets.Bytes().tag(sync=True)
    _summary = traitlets.Bytes().tag(sync=True)
    _images = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self, trace: Trace, *, lab: Lab | None = None, steer: Steering | Direction | None = None
    ) -> None:
        self._trace = check_trace(trace, "gl.Explorer")
        self._lab = None if lab is None else check_lab(lab, "gl.Explorer")
        self._steered = None if steer is None else SteeredTrace(trace, steer, lab=self._lab)
        self._epoch = 0
        super().__init__(_can_run=lab is not None, **self._payload(trace))
        if self._steered is not None:
            self._steering = self._steered.slider()
            self.set_trait("strength", self._steered.strength_of(trace))

    def __repr__(self) -> str:
        return f"Explorer({self._trace!r})"

    def _static_fallback(self) -> tuple[str, str]:
        html = token_summary_html(self._trace, tokens=self.selected_tokens)
        if self._steered is not None:
            html = self._steered.note(self.strength) + html
        if self._trace.features is not None:
            html += features_html(self._trace, features=None if self.feature < 0 else [self.feature])
        steered = "" if self._steered is None else f"; {self._steered.text(self.strength)}"
        return html, token_summary_text(self._trace) + steered

    @traitlets.validate("feature")
    def _check_feature(self, proposal: dict[str, Any]) -> int:
        """Take a feature that the trace's SAE has, and whose SAE fits well enough to interpret it."""
        feature = int(proposal["value"])
        if feature != -1:
            if self._trace.features is None:
                raise NotTraced(
                    "This trace has no SAE features.", hint="lab.trace(prompt, sae=gl.load_sae(…))"
                )
            self._trace.features.of(feature)
        return feature

    def ask(
        self, prompt: str | list[dict[str, Any]], *, max_new_tokens: int = _MAX_NEW_TOKENS, **options: Any
    ) -> Trace:
        """Send a prompt to the model and show the trace of its answer.

        Parameters
        ----------
        prompt, **options
            As for `Lab.trace`; attention and logit lens are recorded unless these say otherwise.
        max_new_tokens
            Longest answer, in tokens.

        Returns
        -------
        Trace

        Raises
        ------
        LabError
            If the explorer has no model, or it is running for it already.
        """
        lab = self._model()
        with self._running():
            if self._steered is not None and self.strength and "edit" not in options:
                options["edit"] = self._steered.at(self.strength)
            trace = lab.trace(
                prompt, max_new_tokens=max_new_tokens, **{"attention": True, "logit_lens": True} | options
            )
            self._show(trace)
        return trace

    def steer(self, strength: float) -> Trace:
        """Run the prompt of the shown trace again with another strength of the direction, and show it.

        Parameters
        ----------
        strength
            Factor of the direction; 0 is the model as it is, under the trace's own other edits.

        Returns
        -------
        Trace

        Raises
        ------
        LabError
            If the explorer has no model or no direction, or the model is running for it already.
        BadEdit
            If the direction is of other weights, or the strength is no number.
        """
        lab = self._model()
        if self._steered is None:
            raise LabError(
                "This explorer has no direction.", hint="gl.Explorer(trace, lab=lab, steer=direction)"
            )
        edit = self._steered.edit(self._trace, strength)
        with self._running():
            trace = lab.trace(self._steered.request(self._trace), edit=edit, **recorded(self._trace))
            self._show(trace)
        return trace

    def _show(self, trace: Trace) -> None:
        """Replace the trace that is shown."""
        with self.hold_sync():
            if self._steered is not None:
                self.set_trait("strength", self._steered.strength_of(trace))
            self.selected_tokens, self.feature = [], -1  # validated against the trace: reset before it
            self._trace = trace
            for name, value in self._payload(trace).items():
                setattr(self, name, value)

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        html, _ = self._static_fallback()
        return write_page(
            path,
            self._page_state(),
            {},
            title=f"{self._noun}: {self._facts['name']}",
            fallback=html,
            program=self._program,
            style=self._css,
        )

    def _page_state(self) -> dict[str, Any]:
        """Return the traits that a page without a kernel reads."""
        names = (
            "_facts", "_tokens", "_summary", "_images", "selected_tokens", "feature", "strength",
            "_steering", "_ack", "_notice",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"busy": False, "_can_run": False}

    def _payload(self, trace: Trace) -> dict[str, Any]:
        records = [
            name
            for name in ("attention", "routing", "logit_lens", "features")
            if getattr(trace, name) is not None
        ]
        if not records:
            raise BadTrace(
                "This trace holds neither attention nor routing nor a logit lens nor SAE features.",
                hint="lab.trace(prompt, max_new_tokens=8, attention=True, logit_lens=True)",
            )
        self._epoch += 1
        return {
            "_facts": {
                "epoch": self._epoch,
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "tokens": len(trace),
                "answer_start": answer_tokens(trace)[0],
                "records": records,
            },
            "_tokens": token_buffer(trace.tokens, draws=draw_arrays(trace, self._lab)),
            "_summary": summary_buffer(trace),
            "_images": [image_entry(image) for image in trace.images],
        }

    def _on_ask(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        text = str(content.get("text", ""))
        if not text.strip():
            raise BadPrompt("The prompt is empty.", hint="Write a question.")
        self._in_background(lambda: self.ask(text))

    def _on_steer(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        strength = content.get("strength")
        if not isinstance(strength, int | float) or isinstance(strength, bool):
            raise BadEdit("The strength is no number.", hint="Move the slider.")
        self._in_background(lambda: self.steer(float(strength)))
