"""The routing explorer: tokens × experts of every layer, for the pointer, the keyboard and Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadTrace, LabError
from ...views.experts.routing import routing_html, routing_text
from ..shared.base import module, sendable, stylesheet
from ..shared.images import shrunk
from ..shared.saved_page import write_page
from ..shared.wire import WHOLE, bytes_of, heaviest, layer_buffer, load_buffer, token_buffer
from .model_runs import ModelRuns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...lab import Lab
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Below this many bytes of routing a browser fetches every layer while nobody waits; above, those it shows.
_HELD = 64 << 20


class RoutingExplorer(ModelRuns):
    """Every token's experts in every layer of a mixture-of-experts model.

    Parameters
    ----------
    trace
        What `Lab.trace` or `gemma_lab.open_trace` returned; it must hold a routing.
    lab
        The model, if experts are to be switched off or questions asked from here.
    layer
        The model's layer to begin with; the middle one when omitted.

    Attributes
    ----------
    layer : int
        The model's layer that is shown.
    selected_tokens, selected_experts : list of int
        The selection, in the trace's tokens and in the experts of `layer`. Both can be set.

    Raises
    ------
    BadTrace
        If the trace holds no routing.

    Notes
    -----
    Pointing at a token shows its experts, pointing at an expert its tokens everywhere in the text. In the
    heat map the arrow keys walk along tokens and their experts, Page Up and Page Down along layers.

    Examples
    --------
    >>> explorer = gl.RoutingExplorer(lab.trace("What is 7 in German?", max_new_tokens=8), lab=lab)
    >>> explorer.layer, explorer.selected_experts = 3, [17]      # the views follow
    >>> explorer.ablate({3: [17]})                               # the answer before and after
    >>> explorer.ask("And 8?", max_new_tokens=8)                       # followed token by token
    >>> explorer.to_html("routing.html")                         # one file, no kernel, no network
    """

    _esm = module("routing.js")
    _css = stylesheet("base.css", "routing.css")
    _intents = ("layers", "select", "ask", "ablate", "restore", "look", "stop", "resume")

    #: What the trace is: name, layers, experts, top_k, where the colours end, how exact its weights are.
    facts = traitlets.Dict().tag(sync=True)
    #: Tokens, loads of all layers, and the routing of the layers that come with the first message.
    table = traitlets.Bytes().tag(sync=True)
    loads = traitlets.Bytes().tag(sync=True)
    routes = traitlets.Bytes().tag(sync=True)
    #: The pictures of the prompt: width and height of the original, and a copy as PNG.
    pictures = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    selected_tokens = traitlets.List(traitlets.Int()).tag(sync=True)
    selected_experts = traitlets.List(traitlets.Int()).tag(sync=True)
    #: Which view spoke last, and its how manieth choice that was: no view falls back behind its own hand.
    heard = traitlets.Dict().tag(sync=True)

    def __init__(self, trace: Trace, *, lab: Lab | None = None, layer: int | None = None) -> None:
        self._lab = lab
        self._epoch = 0
        self._trace = self._original = trace
        routing = _routing(trace)
        first = routing.layers[len(routing.layers) // 2] if layer is None else layer
        super().__init__(can_run=lab is not None, **self._payload(trace, _known(routing, first)))

    def __repr__(self) -> str:
        return f"RoutingExplorer({self._trace!r}, layer {self.layer})"

    def _twin(self) -> tuple[str, str]:
        experts = self.selected_experts
        return routing_html(self._trace, layer=self.layer, experts=experts), routing_text(
            self._trace, layer=self.layer
        )

    @property
    def trace(self) -> Trace:
        """The trace that is shown."""
        return self._trace

    @property
    def routing(self) -> Routing:
        """Its routing."""
        return _routing(self._trace)

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that stays interactive without a kernel or a network.

        The file holds the whole trace, its own program and a policy that forbids it to load or send anything;
        without scripts it shows the static twin. It opens with the layer and the selection that are set now.

        Parameters
        ----------
        path
            Where to write.

        Returns
        -------
        Path

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        state = {
            "facts": self.facts,
            "table": self.table,
            "loads": self.loads,
            "routes": layer_buffer(self.routing, [self.routing.layers.index(self.layer)]),
            "pictures": self.pictures,
            "layer": self.layer,
            "selected_tokens": self.selected_tokens,
            "selected_experts": self.selected_experts,
            "comparison": self.comparison,
            "busy": False,
            "can_run": False,
        }
        html, _ = self._twin()
        return write_page(
            path,
            {**state, "facts": {**self.facts, "hold": True}},
            title=f"Routing: {self.facts['name']}",
            twin=html,
            program="page.js",
            style=self._css,
            parts=[layer_buffer(self.routing, [row]) for row in range(len(self.routing.layers))],
        )

    # ── what is shown ──────────────────────────────────────────────────────────────────────────────────

    def _payload(self, trace: Trace, layer: int) -> dict[str, Any]:
        """Return the traits that show `trace`; small routings go whole, of large ones one layer."""
        routing = _routing(trace)
        self._epoch += 1
        size = bytes_of(routing)
        row = routing.layers.index(layer)
        rows = range(len(routing.layers)) if size <= WHOLE else [row]
        return {
            "table": token_buffer(trace.tokens),
            "loads": load_buffer(routing),
            "routes": layer_buffer(routing, rows),
            "pictures": [shrunk(image) for image in trace.images],
            "layer": layer,
            "selected_tokens": [],
            "selected_experts": [],
            "facts": {
                "epoch": self._epoch,
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "layers": [int(number) for number in routing.layers],
                "experts": int(routing.experts),
                "top_k": int(routing.top_k),
                "heaviest": heaviest(routing),
                "hold": size <= _HELD,
                "precision": f"weights in steps of 1/4095 of a token's total; a {routing.precision} trace",
            },
        }

    def _show(self, trace: Trace, *, keep: bool = False) -> None:
        """Draw another trace, in the same layer if it has it; `keep` keeps the selection too."""
        routing = _routing(trace)
        layer = self.layer if self.layer in routing.layers else routing.layers[0]
        payload = self._payload(trace, layer)
        if keep:
            payload["selected_experts"] = self.selected_experts
            payload["selected_tokens"] = [at for at in self.selected_tokens if at < len(trace.tokens)]
        with self.hold_sync():
            self.selected_tokens = []  # they are checked against the trace, so they go before it
            self._trace = trace
            for name, value in payload.items():
                setattr(self, name, value)

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> int:
        return _known(self.routing, proposal["value"])

    @traitlets.validate("selected_experts")
    def _check_experts(self, proposal: dict[str, Any]) -> list[int]:
        return _within(proposal["value"], self.routing.experts, "expert")

    @traitlets.validate("selected_tokens")
    def _check_tokens(self, proposal: dict[str, Any]) -> list[int]:
        return _within(proposal["value"], len(self._trace.tokens), "token")

    # ── intents of the front end ───────────────────────────────────────────────────────────────────────

    def _on_layers(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the routing of some layers."""
        for row in content.get("rows", ()):
            if isinstance(row, int) and 0 <= row < len(self.routing.layers):
                self._post_buffers({"type": "layers"}, [layer_buffer(self.routing, [row])])

    def _on_select(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Take over the selection of a view."""
        with self.hold_sync():
            try:
                self.layer = content.get("layer", self.layer)
                self.selected_tokens = content.get("tokens", [])
                self.selected_experts = content.get("experts", [])
            finally:  # also when it was refused: the view takes over what holds
                self.heard = {"view": str(content.get("view", "")), "turn": content.get("turn", 0)}

    def _post_buffers(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send one message with binary parts to every view; safe from any thread."""
        self.send({**content, "epoch": self._epoch}, buffers)


def _routing(trace: Trace) -> Routing:
    if trace.routing is None:
        raise BadTrace(
            "This trace holds no routing: its model has no experts, or they were not recorded.",
            hint="Trace a mixture-of-experts model, e.g. gemma_lab.load('mini-moe').trace('Hello').",
        )
    return trace.routing


def _known(routing: Routing, layer: int) -> int:
    if layer not in routing.layers:
        have = ", ".join(str(number) for number in routing.layers)
        raise LabError(
            f"Layer {layer} has no experts in this trace.", hint=f"The layers with experts are {have}."
        )
    return int(layer)


def _within(values: Sequence[int], count: int, what: str) -> list[int]:
    wrong = [value for value in values if not 0 <= value < count]
    if wrong:
        raise LabError(
            f"There is no {what} {wrong[0]} in this trace.", hint=f"It has {what}s 0 to {count - 1:,}."
        )
    return sorted({int(value) for value in values})
