"""The attention explorer: every head of every layer, from pooled maps to single rows, at any length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadTrace, LabError
from ...views.attention.figures import attention_text
from ...views.attention.static import attention_html
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.draws import draw_arrays
from ..shared.explorer import TraceExplorer, check_lab, check_trace, one_of, within
from ..shared.images import image_entry
from ..shared.saved_page import write_page
from ..shared.wire import token_buffer
from .wire import CHUNK, grid_buffer, key_buffer, layouts, map_buffer, row_buffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ...lab import Lab
    from ...trace.records.attention import Attention
    from ...trace.trace import Trace

#: Most full rows that one request fetches; each is as long as the text.
_MAX_ROWS = 48
#: Most bytes of top keys in a saved page; of longer texts it keeps those of the end.
_SAVED_BYTES = 24 << 20
#: Most heads of which a saved page of a short text holds top keys; of more it holds maps, exact to 0.4 %.
_EXACT_HEADS = 128


class AttentionExplorer(TraceExplorer):
    """The attention pattern of every head of every layer, on the text, on images and along audio.

    Parameters
    ----------
    trace
        Returned by ``lab.trace(prompt, attention=True)`` or `gemma_lab.open_trace`.
    other
        A second trace of the same model, shown beside the first.
    lab
        The model, to recompute exact rows from the widget (`fetch`).
    layer, head
        Layer and query head to open, as the model numbers them; the first head of the first global layer by
        default.

    Attributes
    ----------
    layer, head : int
        The open layer and head. Both can be set.
    selected_tokens : list of int
        Tokens of the first trace that stay highlighted; the last of them is shown while the pointer is
        elsewhere.

    Raises
    ------
    BadTrace
        If a trace holds no attention maps, or the two traces have different layers or heads.

    Notes
    -----
    A map's cell is the mean, over the queries of its row, of the sum over the keys of its column; the view
    says so where a bin holds several tokens. Zoomed in, a row is drawn from its top keys, or in full where it
    was recorded or fetched. The weight of the first token is drawn separately.

    Examples
    --------
    >>> trace = lab.trace("Ada has the lemon. What does Ada have?", max_new_tokens=4, attention=True)
    >>> explorer = gl.AttentionExplorer(trace, lab=lab)
    >>> explorer.layer, explorer.head = 5, 2
    >>> explorer.fetch([12, 13])                     # exact rows, recomputed by the model
    >>> explorer.to_html("attention.html")           # one file, no kernel, no network
    """

    _esm = bundle("attention/attention.js")
    _css = stylesheet("shared/base.css", "shared/tints.css", "shared/view.css", "attention/attention.css")
    _messages = ("maps", "keys", "rows", "fetch", "select")
    _selection = (("layer", "layer"), ("head", "head"), ("tokens", "selected_tokens"))
    _busy_error = ("Rows are being recomputed already.", "Wait until they have arrived.")

    #: One or two traces: facts, tokens, grid, maps, keys, images. See `_side`.
    _sides = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        trace: Trace,
        *,
        other: Trace | None = None,
        lab: Lab | None = None,
        layer: int | None = None,
        head: int | None = None,
    ) -> None:
        self._trace = check_trace(trace, "gl.AttentionExplorer")
        self._lab = None if lab is None else check_lab(lab, "gl.AttentionExplorer", verb="attention_rows")
        self._traces = (trace,) if other is None else (trace, check_trace(other, "gl.AttentionExplorer"))
        self._attention = tuple(_attention(each) for each in self._traces)
        first = self._attention[0]
        if len({(each.heads, _layers(each)) for each in self._attention}) > 1:
            raise BadTrace(
                "The two traces have different layers or heads.", hint="Compare traces of one model."
            )
        self._fetched: tuple[dict[tuple[int, int], NDArray[Any]], ...] = ({}, {})
        opened = one_of(_first_global(first) if layer is None else layer, _layers(first), "layer")
        super().__init__(
            _sides=[self._side(side, _layers(first).index(opened)) for side in range(len(self._traces))],
            layer=opened,
            head=one_of(first.heads[0] if head is None else head, first.heads, "head"),
            _can_run=lab is not None,
        )

    def __repr__(self) -> str:
        beside = f" beside {self._traces[1]!r}" if len(self._traces) > 1 else ""
        return f"AttentionExplorer({self._traces[0]!r}{beside}, layer {self.layer}, head {self.head})"

    def _static_fallback(self) -> tuple[str, str]:
        layer, head, tokens = self.layer, self.head, self.selected_tokens
        parts = [
            (
                attention_html(trace, layer=layer, head=head, tokens=() if number else tokens),
                attention_text(trace, layer=layer, head=head),
            )
            for number, trace in enumerate(self._traces)
        ]
        return "".join(html for html, _ in parts), "\n".join(text for _, text in parts)

    @property
    def other(self) -> Trace | None:
        """The second trace, or None."""
        return self._traces[1] if len(self._traces) > 1 else None

    def fetch(self, queries: Sequence[int], *, layer: int | None = None, other: bool = False) -> None:
        """Recompute the exact attention rows of some tokens, and show them in every view.

        Parameters
        ----------
        queries
            Tokens of the trace, at most 48.
        layer
            The model's layer; the open one by default.
        other
            Fetch rows of the second trace.

        Raises
        ------
        LabError
            If the explorer has no model, or it is running for it already.
        """
        lab, side = self._model(), int(other)
        attention = self._attention[side]
        number = one_of(self.layer if layer is None else layer, _layers(attention), "layer")
        wanted = sorted(set(within(list(queries), len(attention), "token")))[:_MAX_ROWS]
        with self._running():
            every = lab.attention_rows(self._traces[side], wanted, layers=[number])
            recorded_heads = list(attention.heads)
            found = {key: rows[recorded_heads] for key, rows in every.items()}
            self._fetched[side].update(found)
            layer_index = _layers(attention).index(number)
            self._send_rows(side, layer_index, {query: found[number, query] for query in wanted})

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        Of a long text the file keeps all maps and the top keys of its end; of a short one with more than 128
        heads, weights exact to 0.4 %. The page says so where it shows them.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        html, _ = self._static_fallback()
        names = ("layer", "head", "selected_tokens", "_ack", "_notice")
        state = {name: getattr(self, name) for name in names} | {
            "_sides": [{**side, "maps": None, "keys": None} for side in self._sides],
            "busy": False,
            "_can_run": False,
        }
        answers: dict[str, bytes] = {}
        for side, attention in enumerate(self._attention):
            layers = range(len(attention.layers))
            answers |= {f"maps-{side}-{row}": map_buffer(attention, row) for row in layers}
            exact = attention.bins < len(attention) or len(layers) * len(attention.heads) <= _EXACT_HEADS
            per_chunk = len(key_buffer(attention, 0, 0)) * len(layers)
            starts = list(range(0, len(attention), CHUNK))[-max(1, _SAVED_BYTES // max(1, per_chunk)) :]
            for row in layers:
                for start in starts:
                    answers[f"keys-{side}-{row}-{start}"] = key_buffer(attention, row, start, keys=exact)
                if recorded := self._recorded(side, row):
                    answers[f"rows-{side}-{row}"] = row_buffer(recorded, row)
        return write_page(
            path,
            state,
            answers,
            title=f"Attention: {self._sides[0]['facts']['name']}",
            fallback=html,
            program="attention/attention_page.js",
            style=self._css,
        )

    # ── what is shown ──────────────────────────────────────────────────────────────────────────────────

    def _side(self, side: int, layer_index: int) -> dict[str, Any]:
        """Return one trace as views read it: thumbnails of all heads, one layer's maps and first top keys."""
        trace, attention = self._traces[side], self._attention[side]
        return {
            "facts": {
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "tokens": len(attention),
                "bin_edges": [int(edge) for edge in attention.bin_edges],
                "layers": layouts(attention),
                "heads": [int(head) for head in attention.heads],
                "chunk": CHUNK,
            },
            "tokens": token_buffer(trace.tokens, draws=draw_arrays(trace, self._lab)),
            "grid": grid_buffer(attention),
            "maps": map_buffer(attention, layer_index),
            "keys": key_buffer(attention, layer_index, 0),
            "images": [image_entry(image) for image in trace.images],
        }

    def _recorded(self, side: int, layer_index: int) -> dict[int, NDArray[Any]]:
        """Return the full rows of one layer by query: those recorded with the trace and those fetched."""
        attention = self._attention[side]
        layer = attention.layers[layer_index].layer
        found = {
            query: attention.row(layer, query) for number, query in attention.full_rows if number == layer
        }
        return found | {query: row for (number, query), row in self._fetched[side].items() if number == layer}

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> int:
        return one_of(proposal["value"], _layers(self._attention[0]), "layer")

    @traitlets.validate("head")
    def _check_head(self, proposal: dict[str, Any]) -> int:
        return one_of(proposal["value"], self._attention[0].heads, "head")

    # ── messages of the views ──────────────────────────────────────────────────────────────────────────

    def _on_maps(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the maps of one layer."""
        side, layer_index = self._asked(content)
        self._answer("maps", side, map_buffer(self._attention[side], layer_index))

    def _on_keys(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the top keys of one chunk of one layer."""
        side, layer_index = self._asked(content)
        attention, start = self._attention[side], int(content.get("start", 0))
        if 0 <= start < len(attention):
            self._answer("keys", side, key_buffer(attention, layer_index, start - start % CHUNK))

    def _on_rows(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the full rows of one layer that were recorded or fetched."""
        side, layer_index = self._asked(content)
        if recorded := self._recorded(side, layer_index):
            self._send_rows(side, layer_index, recorded)

    def _on_fetch(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Recompute rows in the background."""
        side, layer_index = self._asked(content)
        layer = self._attention[side].layers[layer_index].layer
        queries = [int(query) for query in content.get("queries", ())][:_MAX_ROWS]
        self._model()
        self._in_background(lambda: self.fetch(queries, layer=layer, other=bool(side)))

    def _asked(self, content: Mapping[str, Any]) -> tuple[int, int]:
        """Return the side and the layer index that a message is about."""
        side, layer_index = content.get("side", 0), content.get("layer_index", 0)
        if side not in range(len(self._attention)) or layer_index not in range(
            len(self._attention[0].layers)
        ):
            raise LabError(
                "A view requested a layer that this trace does not have.", hint="Show the widget again."
            )
        return int(side), int(layer_index)

    def _send_rows(self, side: int, layer_index: int, rows: dict[int, NDArray[Any]]) -> None:
        self._answer("rows", side, row_buffer(rows, layer_index))

    def _answer(self, kind: str, side: int, buffer: bytes) -> None:
        self._post({"type": kind, "side": side}, [buffer])


def _attention(trace: Trace) -> Attention:
    attention = trace.attention
    if attention is None:
        raise BadTrace(
            "This trace holds no attention.", hint="Trace with attention: lab.trace(prompt, attention=True)."
        )
    if not attention.bands:
        raise BadTrace(
            "This trace holds no attention maps.",
            hint="Trace with attention=AttentionRequest(pooled=True).",
        )
    return attention


def _layers(attention: Attention) -> tuple[int, ...]:
    return tuple(layout.layer for layout in attention.layers)


def _first_global(attention: Attention) -> int:
    layers = attention.layers
    return next((layout.layer for layout in layers if layout.kind == "global"), layers[0].layer)
