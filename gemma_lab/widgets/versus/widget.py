"""The explorer of a comparison: layers × tokens, where routing and next tokens of two models differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import traitlets

from ...checks import short_repr, type_name
from ...errors import BadTrace, LabError
from ...evals.versus.comparison import Versus
from ...views.versus.cells import prompt_cells_html, prompt_cells_text
from ..explorer.widget import Explorer
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.explorer import TraceExplorer, one_of
from ..shared.saved_page import write_page
from .wire import comparison_buffer, readings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The row of the next token's divergence, above the layers.
KL_ROW = -1


class VersusExplorer(TraceExplorer):
    """Where two models differ: every token of a prompt and its answer in every layer with experts.

    The top row is the divergence of the next token, the rows below are the slots that are flipped, or the
    gate weight that moved, in each layer. Pointing at a cell shows the experts of both models there and
    their likeliest next tokens; selecting one selects its token.

    Parameters
    ----------
    versus
        From `gemma_lab.versus`, with tokens that both models read.
    prompt
        Index of the prompt to open; by default the one with the most different token.

    Attributes
    ----------
    prompt : int
        The prompt that is shown. It can be set.
    layer : int
        The layer of the selected cell; −1 is the row of the next token.
    selected_tokens : list of int
        The selected tokens, as rows of the first model's trace. It can be set, and linked with that of the
        other explorers by ``traitlets.link``.

    Raises
    ------
    BadTrace
        If no prompt was read by both models.

    Examples
    --------
    >>> explorer = gl.VersusExplorer(gl.versus(lab, lab.edit(ablate_experts={3: [17]})))
    >>> explorer.explorer("second")                # the trace behind the selected token
    >>> explorer.to_html("versus.html")
    """

    _esm = bundle("versus/versus.js")
    _css = stylesheet("shared/base.css", "shared/view.css", "shared/cells.css", "versus/versus.css")
    _messages = ("select", "show")
    _selection = (("layer", "layer"), ("tokens", "selected_tokens"))

    #: Names of both models, prompts that can be shown with their texts, mean of what rounding makes.
    _facts = traitlets.Dict().tag(sync=True)
    #: Buffer: the tokens of the prompt.
    _cells = traitlets.Bytes().tag(sync=True)
    prompt = traitlets.Int().tag(sync=True)
    layer = traitlets.Int(default_value=KL_ROW).tag(sync=True)

    def __init__(self, versus: Versus, *, prompt: int | None = None) -> None:
        self._versus = _checked(versus)
        self._lab = None
        self._epoch = 0
        self._known = sorted({int(index) for index in versus.columns[:, 0]})
        opened = _most_different(versus) if prompt is None else one_of(prompt, self._known, "prompt")
        self._trace = readings(versus, opened)[0]
        super().__init__(prompt=opened, **self._payload(opened))
        self.observe(self._open_prompt, names="prompt")

    def __repr__(self) -> str:
        return f"VersusExplorer({self._versus!r}, prompt {self.prompt})"

    @property
    def versus(self) -> Versus:
        """The comparison."""
        return self._versus

    def explorer(self, side: Literal["first", "second"] = "first") -> Explorer:
        """Return the explorer of one model's reading of the shown prompt, with the same token selected.

        Parameters
        ----------
        side
            ``"first"`` or ``"second"``.

        Raises
        ------
        LabError
            If `side` is something else.
        BadTrace
            If the reading holds neither routing nor attention.
        """
        if side not in ("first", "second"):
            raise LabError(f"side={short_repr(side)} is no side.", hint='"first" or "second".')
        index = ("first", "second").index(side)
        opened = Explorer(readings(self._versus, self.prompt)[index])
        rows = {int(one): int(two) for prompt, one, two in self._versus.columns if prompt == self.prompt}
        opened.selected_tokens = [
            token if side == "first" else rows[token]
            for token in self.selected_tokens
            if side == "first" or token in rows
        ]
        return opened

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        names = ("_facts", "_cells", "prompt", "layer", "selected_tokens", "_ack", "_notice")
        html, _ = self._static_fallback()
        return write_page(
            path,
            {name: getattr(self, name) for name in names} | {"busy": False, "_can_run": False},
            {f"prompt-{index}": comparison_buffer(self._versus, index) for index in self._known},
            title=f"Comparison: {' and '.join(self._facts['names'])}",
            fallback=html,
            program="versus/versus_page.js",
            style=self._css,
        )

    def _static_fallback(self) -> tuple[str, str]:
        return str(prompt_cells_html(self._versus, self.prompt)), prompt_cells_text(self._versus, self.prompt)

    def _payload(self, prompt: int) -> dict[str, Any]:
        self._epoch += 1
        versus = self._versus
        routing = versus.routing_noise
        return {
            "_facts": {
                "epoch": self._epoch,
                "names": [sendable(name) for name in versus.names],
                "prompts": [{"index": i, "label": sendable(versus.answers[i].prompt)} for i in self._known],
                "rounding": {
                    "kl": 0.0 if versus.tokens is None else float(versus.tokens.noise.mean()),
                    "flipped": 0.0 if routing is None else routing.mean,
                    "weight": 0.0 if routing is None else float(routing.weight.mean()),
                },
                "chance": None if versus.routing is None else float(versus.routing.chance.mean()),
            },
            "_cells": comparison_buffer(versus, prompt),
        }

    def _open_prompt(self, change: dict[str, Any]) -> None:
        with self.hold_sync():
            self.selected_tokens = []  # validated against the trace, so reset before it
            self._trace = readings(self._versus, change["new"])[0]
            for name, value in self._payload(change["new"]).items():
                setattr(self, name, value)

    @traitlets.validate("prompt")
    def _check_prompt(self, proposal: dict[str, Any]) -> int:
        return one_of(proposal["value"], self._known, "prompt")

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> int:
        routing = self._versus.routing
        layers = () if routing is None else routing.layers
        return one_of(proposal["value"], (KL_ROW, *layers), "layer")

    def _on_show(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        index = content.get("prompt")
        if isinstance(index, int):
            self.prompt = index


def _checked(versus: Any) -> Versus:
    if not isinstance(versus, Versus):
        raise LabError(
            f"gl.VersusExplorer takes a comparison, not {type_name(versus)}.",
            hint="gl.VersusExplorer(gl.versus(lab, lab.edit(…)))",
        )
    if not len(versus.columns):
        raise BadTrace(
            "No prompt of this comparison was read by both models.",
            hint=f"The reason: {versus.absent.get('tokens', 'not measured')}.",
        )
    return versus


def _most_different(versus: Versus) -> int:
    return versus.worst(1)[0].prompt if versus.tokens is not None else int(versus.columns[0, 0])
