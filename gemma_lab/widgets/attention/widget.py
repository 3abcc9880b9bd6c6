"""The attention explorer: every head of every layer, from the whole text down to one row, at any length."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import traitlets

from ...errors import BadTrace, LabError
from ...views.attention.figures import attention_text
from ...views.attention.static import attention_html
from ..shared.base import LabWidget, sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.images import shrunk
from ..shared.saved_page import write_page
from ..shared.wire import token_buffer
from .wire import CHUNK, grid_buffer, has_statistics, key_buffer, layouts, map_buffer, row_buffer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ...lab import Lab
    from ...trace.records.attention import Attention
    from ...trace.trace import Trace

#: Whole rows that one request fetches: each is as long as the text.
_ROWS = 48
#: A saved page keeps the heaviest keys of so many bytes; of longer texts, those of the end.
_SAVED = 24 << 20
#: Of more heads a page reads short texts from their maps, within 0.4 %, not from their heaviest keys.
_MANY = 128


class AttentionExplorer(LabWidget):
    """Where every head of every layer looks, on the text, on pictures and along sounds.

    Parameters
    ----------
    trace
        What ``lab.trace(prompt, attention=True)`` or `gemma_lab.open_trace` returned.
    other
        A second trace of the same model, shown beside the first.
    lab
        The model, if exact rows are to be read again from here (`fetch`).
    layer, head
        The model's layer and the query head to begin with; the first global layer's first head when omitted.

    Attributes
    ----------
    layer, head : int
        What is open. Both can be set.
    selected_tokens : list of int
        Tokens of the first trace that stay lit; the last of them is read when the pointer is elsewhere.

    Raises
    ------
    BadTrace
        If a trace holds no attention maps, or the two are of differently built models.

    Notes
    -----
    A map's cell is a mean over the queries of its row of the sum over the keys of its column; where the text
    has more tokens than the map has bins the view says so. Zoomed in, a row is drawn from its heaviest keys,
    and whole where it was recorded or fetched. The first token's share stands on a strip of its own.

    Examples
    --------
    >>> trace = lab.trace("Ada has a lemon. What has Ada?", max_new_tokens=4, attention=True)
    >>> explorer = gl.AttentionExplorer(trace, lab=lab)
    >>> explorer.layer, explorer.head = 5, 2
    >>> explorer.fetch([12, 13])                     # exact rows, read once more from the model
    >>> explorer.to_html("attention.html")           # one file, no kernel, no network
    """

    _esm = bundle("attention/attention.js")
    _css = stylesheet("shared/base.css", "shared/view.css", "attention/attention.css")
    _intents = ("maps", "keys", "rows", "fetch", "select")

    #: One or two of: facts, table, grid, maps, keys, pictures. See `_side`.
    sides = traitlets.List(traitlets.Dict()).tag(sync=True)
    layer = traitlets.Int().tag(sync=True)
    head = traitlets.Int().tag(sync=True)
    selected_tokens = traitlets.List(traitlets.Int()).tag(sync=True)
    #: Which view spoke last, and its how manieth choice that was.
    heard = traitlets.Dict().tag(sync=True)
    #: Whether rows are being read from the model, and whether there is one.
    busy = traitlets.Bool(default_value=False).tag(sync=True)
    can_fetch = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(
        self,
        trace: Trace,
        *,
        other: Trace | None = None,
        lab: Lab | None = None,
        layer: int | None = None,
        head: int | None = None,
    ) -> None:
        self._lab = lab
        self._traces = (trace,) if other is None else (trace, other)
        self._looks = tuple(_attention(each) for each in self._traces)
        if len({(looks.heads, tuple(one.layer for one in looks.layers)) for looks in self._looks}) > 1:
            raise BadTrace(
                "The two traces have different layers or heads.", hint="Compare traces of one model."
            )
        self._fetched: tuple[dict[tuple[int, int], NDArray[Any]], ...] = ({}, {})
        self._gate = threading.Lock()
        #: The exception of the last fetch in the background that failed unexpectedly, or None.
        self.error: BaseException | None = None
        first = _first(self._looks[0]) if layer is None else layer
        row = _known(self._looks[0], first)
        super().__init__(
            sides=[self._side(side, row) for side in range(len(self._traces))],
            layer=first,
            head=_head(self._looks[0], self._looks[0].heads[0] if head is None else head),
            can_fetch=lab is not None,
        )

    def __repr__(self) -> str:
        beside = f" beside {self._traces[1]!r}" if len(self._traces) > 1 else ""
        return f"AttentionExplorer({self._traces[0]!r}{beside}, layer {self.layer}, head {self.head})"

    def _twin(self) -> tuple[str, str]:
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
    def trace(self) -> Trace:
        """The first trace that is shown."""
        return self._traces[0]

    @property
    def other(self) -> Trace | None:
        """The trace beside it, or None."""
        return self._traces[1] if len(self._traces) > 1 else None

    def fetch(self, queries: Sequence[int], *, layer: int | None = None, other: bool = False) -> None:
        """Read the exact rows of some tokens once more from the model, and show them in every view.

        Parameters
        ----------
        queries
            Tokens of the trace, at most 48.
        layer
            The model's layer; the open one when omitted.
        other
            Of the second trace.

        Raises
        ------
        LabError
            If the explorer has no model, or is reading already.
        """
        lab, side = self._model(), int(other)
        looks = self._looks[side]
        number = self.layer if layer is None else layer
        row = _known(looks, number)
        wanted = sorted(set(_within(list(queries), len(looks), "token")))[:_ROWS]
        if not self._gate.acquire(blocking=False):
            raise LabError("Rows are being read already.", hint="Wait until they are there.")
        try:
            self.busy = True
            every = lab.attention_rows(self._traces[side], wanted, layers=[number])
            found = {
                place: rows[list(looks.heads)] for place, rows in every.items()
            }  # those that were captured
            self._fetched[side].update(found)
            self._send_rows(side, row, {query: found[number, query] for query in wanted})
        finally:
            self.busy = False
            self._gate.release()

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        Of a long text the file keeps all maps, and the heaviest keys of its end; of a short one with more
        than 128 heads, shares within 0.4 %. The page says so where it shows them.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        html, _ = self._twin()
        state = {
            "sides": [{**side, "maps": None, "keys": None} for side in self.sides],
            "layer": self.layer, "head": self.head, "selected_tokens": self.selected_tokens,
            "busy": False, "can_fetch": False,
        }  # fmt: skip
        answers: dict[str, bytes] = {}
        for side, looks in enumerate(self._looks):
            layers = range(len(looks.layers))
            answers |= {f"maps-{side}-{row}": map_buffer(looks, row) for row in layers}
            exact = looks.bins < len(looks) or len(looks.layers) * len(looks.heads) <= _MANY
            per_chunk = len(key_buffer(looks, 0, 0)) * len(layers)
            starts = list(range(0, len(looks), CHUNK))[-max(1, _SAVED // max(1, per_chunk)) :]
            answers |= {
                f"keys-{side}-{row}-{at}": key_buffer(looks, row, at, keys=exact)
                for row in layers
                for at in starts
            }
            for row in layers:
                if recorded := self._recorded(side, row):
                    answers[f"rows-{side}-{row}"] = row_buffer(recorded, row)
        return write_page(
            path, state, answers, title=f"Attention: {self.sides[0]['facts']['name']}", twin=html,
            program="attention/attention_page.js", style=self._css,
        )  # fmt: skip

    # ── what is shown ──────────────────────────────────────────────────────────────────────────────────

    def _side(self, side: int, row: int) -> dict[str, Any]:
        """Return one trace as views read it: all heads small, one layer's maps, its first tokens' keys."""
        trace, looks = self._traces[side], self._looks[side]
        return {
            "facts": {
                "name": sendable(str(trace.meta.get("model", "trace"))),
                "tokens": len(looks),
                "edges": [int(edge) for edge in looks.bin_edges],
                "layers": layouts(looks),
                "heads": [int(head) for head in looks.heads],
                "chunk": CHUNK,
                "recorded": [int(query) for query in looks.rows],
                "statistics": has_statistics(looks),
            },
            "table": token_buffer(trace.tokens),
            "grid": grid_buffer(looks),
            "maps": map_buffer(looks, row),
            "keys": key_buffer(looks, row, 0),
            "pictures": [shrunk(image) for image in trace.images],
        }

    def _recorded(self, side: int, row: int) -> dict[int, NDArray[Any]]:
        """Return the whole rows that are there of one layer: recorded with the trace, or fetched."""
        looks = self._looks[side]
        layer = looks.layers[row].layer
        found = {query: looks.row(layer, query) for number, query in looks.full_rows if number == layer}
        return found | {query: of for (number, query), of in self._fetched[side].items() if number == layer}

    @traitlets.validate("layer")
    def _check_layer(self, proposal: dict[str, Any]) -> int:
        _known(self._looks[0], proposal["value"])
        return int(proposal["value"])

    @traitlets.validate("head")
    def _check_head(self, proposal: dict[str, Any]) -> int:
        return _head(self._looks[0], proposal["value"])

    @traitlets.validate("selected_tokens")
    def _check_tokens(self, proposal: dict[str, Any]) -> list[int]:
        return _within(proposal["value"], len(self._looks[0]), "token")

    # ── intents of the front end ───────────────────────────────────────────────────────────────────────

    def _on_maps(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send one layer's maps."""
        side, row = self._asked(content)
        self._answer("maps", side, [map_buffer(self._looks[side], row)])

    def _on_keys(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the heaviest keys of a stretch of one layer."""
        side, row = self._asked(content)
        start = int(content.get("start", 0))
        if 0 <= start < len(self._looks[side]):
            self._answer("keys", side, [key_buffer(self._looks[side], row, start - start % CHUNK)])

    def _on_rows(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Send the whole rows that are there of one layer."""
        side, row = self._asked(content)
        if recorded := self._recorded(side, row):
            self._send_rows(side, row, recorded)

    def _on_fetch(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Read rows from the model, in the background."""
        side, row = self._asked(content)
        layer = self._looks[side].layers[row].layer
        queries = [int(query) for query in content.get("queries", ())][:_ROWS]
        self._model()

        def work() -> None:
            try:
                self.fetch(queries, layer=layer, other=bool(side))
            except LabError as error:
                self._notify(error)
            except Exception as error:  # shown, and kept for whoever looks: a thread has no caller
                self.error = error
                self._notify(LabError(f"Reading rows failed: {type(error).__name__}.", hint=str(error)))

        threading.Thread(target=work, name="gemma_lab-rows", daemon=True).start()

    def _on_select(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Take over the choice of a view."""
        with self.hold_sync():
            try:
                self.layer = content.get("layer", self.layer)
                self.head = content.get("head", self.head)
                self.selected_tokens = content.get("tokens", [])
            finally:  # also when it was refused: the view takes over what holds
                self.heard = {"view": str(content.get("view", "")), "turn": content.get("turn", 0)}

    def _asked(self, content: Mapping[str, Any]) -> tuple[int, int]:
        """Return the side and the layer's row that a message is about."""
        side, row = content.get("side", 0), content.get("row", 0)
        if side not in range(len(self._looks)) or row not in range(len(self._looks[0].layers)):
            raise LabError("A view asked for a layer that is not there.", hint="Show the explorer anew.")
        return int(side), int(row)

    def _send_rows(self, side: int, row: int, rows: dict[int, NDArray[Any]]) -> None:
        self._answer("rows", side, [row_buffer(rows, row)])

    def _answer(self, kind: str, side: int, buffers: list[bytes]) -> None:
        self.send({"type": kind, "side": side}, buffers)

    def _model(self) -> Lab:
        if self._lab is None:
            raise LabError(
                "This explorer has no model to read rows from.",
                hint="Make it with AttentionExplorer(trace, lab=lab).",
            )
        return self._lab


def _attention(trace: Trace) -> Attention:
    attention = trace.attention
    if attention is None:
        raise BadTrace(
            "This trace holds no attention.", hint="Trace with attention: lab.trace(prompt, attention=True)."
        )
    if not attention.bands:
        raise BadTrace(
            "This trace holds no maps of its attention.",
            hint="Trace with attention=AttentionRequest(pooled=True).",
        )
    return attention


def _first(attention: Attention) -> int:
    return next((one.layer for one in attention.layers if one.kind == "global"), attention.layers[0].layer)


def _known(attention: Attention, layer: int) -> int:
    """Return the row of a layer."""
    have = [one.layer for one in attention.layers]
    if layer not in have:
        raise LabError(
            f"Layer {layer} has no attention in this trace.",
            hint=f"The layers with attention are {', '.join(map(str, have))}.",
        )
    return have.index(layer)


def _head(attention: Attention, head: int) -> int:
    if head not in attention.heads:
        have = ", ".join(map(str, attention.heads))
        raise LabError(f"There is no head {head} in this trace.", hint=f"The heads are {have}.")
    return int(head)


def _within(values: Sequence[int], count: int, what: str) -> list[int]:
    wrong = [value for value in values if not 0 <= value < count]
    if wrong:
        raise LabError(
            f"There is no {what} {wrong[0]} in this trace.", hint=f"It has {what}s 0 to {count - 1:,}."
        )
    return [int(value) for value in dict.fromkeys(values)]
