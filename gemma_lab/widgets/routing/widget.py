"""The routing explorer: tokens × experts of every layer, for the pointer, the keyboard and Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadTrace
from ...views.experts.routing import routing_html, routing_text
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.draws import draw_arrays
from ..shared.explorer import check_lab, check_trace, one_of, within
from ..shared.images import image_entry
from ..shared.saved_page import write_page
from ..shared.wire import SENT_WHOLE, bytes_of, layer_buffer, load_buffer, scale_max, token_buffer
from .model_runs import ModelRuns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...lab import Lab
    from ...trace.records.routing import Routing
    from ...trace.trace import Trace

#: Up to this many bytes of routing a view prefetches every layer; above, only those it shows.
_PREFETCHED = 64 << 20


class RoutingExplorer(ModelRuns):
    """The experts of every token in every layer of a mixture-of-experts model.

    Parameters
    ----------
    trace
        Returned by `Lab.trace` or `gemma_lab.open_trace`; it must hold a routing.
    lab
        The model, to ablate experts or send prompts from the widget.
    layer
        Layer to open; the middle one by default.

    Attributes
    ----------
    layer : int
        The layer that is shown, as the model numbers it.
    selected_tokens, selected_experts : list of int
        The selected tokens of the trace and experts of `layer`. Both can be set.

    Raises
    ------
    BadTrace
        If the trace holds no routing.

    Notes
    -----
    Pointing at a token shows its experts, pointing at an expert its tokens everywhere in the text. In the
    heat map the arrow keys move along tokens and their experts, Page Up and Page Down along layers.

    Examples
    --------
    >>> explorer = gl.RoutingExplorer(lab.trace("What is 7 in German?", max_new_tokens=8), lab=lab)
    >>> explorer.layer, explorer.selected_experts = 3, [17]      # the views follow
    >>> explorer.ablate({3: [17]})                               # the answer before and after
    >>> explorer.ask("And 8?", max_new_tokens=8)                     # shown token by token
    >>> explorer.to_html("routing.html")                         # one file, no kernel, no network
    """

    _esm = bundle("routing/routing.js")
    _css = stylesheet("shared/base.css", "shared/tints.css", "shared/view.css")
    _messages = ("layers", "select", "ask", "ablate", "restore", "show_edited", "stop", "resume")
    _selection = (("layer", "layer"), ("tokens", "selected_tokens"), ("experts", "selected_experts"))

    #: Name, layers, experts, top_k, end of the colour scale, precision, whether views prefetch layers.
    _facts = traitlets.Dict().tag(sync=True)
    #: Buffers: the tokens, the loads of all layers, and the layers that come with the first message.
    _tokens = traitlets.Bytes().tag(sync=True)
    _loads = traitlets.Bytes().tag(sync=True)
    _layers = traitlets.Bytes().tag(sync=True)
    #: The images of the prompt: width and height of the original, and a copy as PNG.
    _images = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    selected_experts = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, trace: Trace, *, lab: Lab | None = None, layer: int | None = None) -> None:
        routing = _routing(check_trace(trace, "gl.RoutingExplorer"))
        self._lab = None if lab is None else check_lab(lab, "gl.RoutingExplorer")
        self._epoch = 0
        self._trace = self._original = trace
        first = routing.layers[len(routing.layers) // 2] if layer is None else layer
        super().__init__(
            _can_run=lab is not None,
            **self._payload(trace, one_of(first, routing.layers, "MoE layer")),
        )

    def __repr__(self) -> str:
        return f"RoutingExplorer({self._trace!r}, layer {self.layer})"

    def _static_fallback(self) -> tuple[str, str]:
        experts = self.selected_experts
        return routing_html(self._trace, layer=self.layer, experts=experts), routing_text(
            self._trace, layer=self.layer
        )

    @property
    def routing(self) -> Routing:
        """The routing of that trace."""
        return _routing(self._trace)

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that stays interactive without a kernel or a network.

        The file holds the trace, its program and a Content-Security-Policy that forbids it to load or send
        anything; without scripts it shows the static fallback. It opens with the current layer and selection.

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
        names = (
            "_tokens",
            "_loads",
            "_images",
            "layer",
            "selected_tokens",
            "selected_experts",
            "_comparison",
            "_ack",
            "_notice",
        )
        html, _ = self._static_fallback()
        layers = {
            f"layers-{row}": layer_buffer(self.routing, [row]) for row in range(len(self.routing.layers))
        }
        state = {name: getattr(self, name) for name in names} | {
            "_layers": layers[f"layers-{self.routing.layers.index(self.layer)}"],
            "_facts": {**self._facts, "prefetch": True},
            "busy": False,
            "_can_run": False,
        }
        return write_page(
            path,
            state,
            layers,
            title=f"Routing: {self._facts['name']}",
            fallback=html,
            program="routing/routing_page.js",
            style=self._css,
        )

    # ── what is shown ──────────────────────────────────────────────────────────────────────────────────

    def _payload(self, trace: Trace, layer: int) -> dict[str, Any]:
        """Return the traits that show `trace`; of a large routing only one layer is sent at first."""
        routing = _routing(trace)
        self._epoch += 1
        size = bytes_of(routing)
        row = routing.layers.index(layer)
        rows = range(len(routing.layers)) if size <= SENT_WHOLE else [row]
        return {
            "_tokens": token_buffer(trace.tokens, draws=draw_arrays(trace, self._lab)),
            "_loads": load_buffer(routing),
            "_layers": layer_buffer(routing, rows),
            "_images": [image_entry(image) for image in trace.images],
            "layer": layer,
            "selected_tokens": [],
            "selected_experts": [],
            "_facts": {
                "epoch": self._epoch,
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "layers": [int(number) for number in routing.layers],
                "experts": int(routing.experts),
                "top_k": int(routing.top_k),
                "scale_max": scale_max(routing),
                "prefetch": size <= _PREFETCHED,
                "precision": f"weights in steps of 1/65535 of a token's total; a {routing.precision} trace",
            },
        }

    def _show(self, trace: Trace, *, keep: bool = False) -> None:
        """Show another trace, in the same layer if it has it; `keep` keeps the selection too."""
        routing = _routing(trace)
        layer = self.layer if self.layer in routing.layers else routing.layers[0]
        payload = self._payload(trace, layer)
        if keep:
            payload["selected_experts"] = self.selected_experts
            payload["selected_tokens"] = [at for at in self.selected_tokens if at < len(trace.tokens)]
        with self.hold_sync():
            self.selected_tokens = []  # validated against the trace, so reset before it
            self._trace = trace
            for name, value in payload.items():
                setattr(self, name, value)

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> int:
        return one_of(proposal["value"], self.routing.layers, "MoE layer")

    @traitlets.validate("selected_experts")
    def _check_experts(self, proposal: dict[str, Any]) -> list[int]:
        return sorted(within(proposal["value"], self.routing.experts, "expert"))

    # ── messages of the views ───────────────────────────────────────────────────────────────────────

    def _on_layers(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the routing of some layers."""
        for row in content.get("layer_indices", ()):
            if isinstance(row, int) and 0 <= row < len(self.routing.layers):
                self._post_buffers({"type": "layers"}, [layer_buffer(self.routing, [row])])

    def _post_buffers(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        """Send a message about the trace that is shown, with binary buffers, to every view."""
        self._post({**content, "epoch": self._epoch}, buffers)


def _routing(trace: Trace) -> Routing:
    if trace.routing is None:
        raise BadTrace(
            "This trace holds no routing: its model has no experts, or they were not recorded.",
            hint="Trace a mixture-of-experts model, e.g. gemma_lab.load('mini-moe').trace('Hello').",
        )
    return trace.routing
