"""The combined explorer: attention, experts and logit lens of each token of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadPrompt, BadTrace, NotTraced
from ...views.trace.features import features_html
from ...views.trace.token_summary import answer_tokens, token_summary_html, token_summary_text
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.draws import draw_arrays
from ..shared.explorer import TraceExplorer, check_lab, check_trace
from ..shared.images import image_entry
from ..shared.saved_page import write_page
from ..shared.wire import token_buffer
from .wire import summary_buffer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...lab import Lab
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

    Attributes
    ----------
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
    >>> trace = lab.trace("Ada has a lemon. What has Ada?", max_new_tokens=6, attention=True, logit_lens=True)
    >>> explorer = gl.Explorer(trace, lab=lab)
    >>> explorer.selected_tokens = [21]
    >>> explorer.to_html("explorer.html")
    """

    _esm = bundle("explorer/explorer.js")
    _css = stylesheet("shared/base.css", "shared/tints.css", "shared/view.css", "explorer/explorer.css")
    _messages = ("select", "ask")
    _selection = (("feature", "feature"), ("tokens", "selected_tokens"))

    feature = traitlets.Int(-1).tag(sync=True)
    #: ES module of a saved page, and what its title begins with.
    _program, _noun = "explorer/explorer_page.js", "Explorer"

    #: Model's name, number of tokens, first token of the answer, which records the trace holds.
    _facts = traitlets.Dict().tag(sync=True)
    #: Buffers: the tokens, and the summary of the rows behind them.
    _tokens = traitlets.Bytes().tag(sync=True)
    _summary = traitlets.Bytes().tag(sync=True)
    _images = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, trace: Trace, *, lab: Lab | None = None) -> None:
        self._trace = check_trace(trace, "gl.Explorer")
        self._lab = None if lab is None else check_lab(lab, "gl.Explorer")
        self._epoch = 0
        super().__init__(_can_run=lab is not None, **self._payload(trace))

    def __repr__(self) -> str:
        return f"Explorer({self._trace!r})"

    def _static_fallback(self) -> tuple[str, str]:
        html = token_summary_html(self._trace, tokens=self.selected_tokens)
        if self._trace.features is not None:
            html += features_html(self._trace, features=None if self.feature < 0 else [self.feature])
        return html, token_summary_text(self._trace)

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
            trace = lab.trace(
                prompt, max_new_tokens=max_new_tokens, **{"attention": True, "logit_lens": True} | options
            )
            self._show(trace)
        return trace

    def _show(self, trace: Trace) -> None:
        """Replace the trace that is shown."""
        with self.hold_sync():
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
            "_facts", "_tokens", "_summary", "_images", "selected_tokens", "feature", "_ack", "_notice",
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
