"""The explorer of a causal map: its heat maps, and the trace of the patched run behind a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...checks import type_name, whole_number
from ...errors import LabError
from ...evals.causal.causal_map import CausalMap
from ...evals.causal.cells import PARTS
from ...evals.causal.grid import CausalEffect
from ...trace.records.logit_lens import LogitLensRequest
from ...views.causal.html import causal_map_html
from ...views.causal.maps import causal_map_text
from ..explorer.widget import Explorer
from ..shared.base import LabWidget, sendable
from ..shared.bundle import bundle, stylesheet
from ..shared.explorer import check_lab
from ..shared.saved_page import write_page
from .wire import causal_buffer, run_summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...evals.causal.cells import Part
    from ...lab import Lab
    from ...models.chat.request import Request
    from ...trace.interventions.edit import Edit
    from ...trace.trace import Trace


class CausalExplorer(LabWidget):
    """A causal map as a heat map of layers × tokens, heads or experts, with the trace behind each cell.

    Selecting a cell patches and traces that run again: the view shows its likeliest next tokens and its logit
    lens, layer by layer, beside those of the clean and the corrupted run.

    Parameters
    ----------
    causal_map
        From ``lab.causal_map(…)``.
    lab
        The model of the map, to trace cells.

    Attributes
    ----------
    part : str
        The part that is shown. It can be set.
    cell : list of int
        Layer and column of the selected cell, or empty. It can be set.
    trace : Trace or None
        Of the patched run behind the opened cell, with attention and the logit lens.

    Raises
    ------
    LabError
        If the argument is not a causal map, or the lab is another model's.

    Examples
    --------
    >>> explorer = gl.CausalExplorer(lab.causal_map(clean, corrupted), lab=lab)
    >>> explorer.trace_cell(layer=3, column=12)    # what a click does
    >>> explorer.explorer()                        # the trace in its own explorer
    >>> explorer.to_html("causal.html")
    """

    _esm = bundle("causal/causal.js")
    _css = stylesheet("shared/base.css", "shared/view.css", "shared/cells.css", "causal/causal.css")
    _messages = ("select", "show", "open")
    _busy_error = ("A cell is being traced already.", "Wait until it is shown.")

    #: Names, the answer and its log-probabilities, the parts that can be shown.
    _facts = traitlets.Dict().tag(sync=True)
    #: Buffer: the cells of the part.
    _cells = traitlets.Bytes().tag(sync=True)
    #: The opened cell: its part and place, and what the three runs compute.
    _opened = traitlets.Dict().tag(sync=True)
    _ack = traitlets.Dict().tag(sync=True)
    _can_run = traitlets.Bool(default_value=False).tag(sync=True)
    part = traitlets.Unicode().tag(sync=True)
    cell = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, causal_map: CausalMap, *, lab: Lab | None = None) -> None:
        self._map = _checked(causal_map)
        self._lab = None if lab is None else check_lab(lab, "gl.CausalExplorer", verb="causal_map")
        if lab is not None:
            causal_map.check_model(lab)
        self.trace: Trace | None = None
        self._plain: list[dict[str, Any]] = []
        part = causal_map.parts[0]
        super().__init__(
            part=part,
            _facts=self._describe(),
            _cells=causal_buffer(causal_map, part),
            _can_run=lab is not None,
        )
        self.observe(self._show_part, names="part")

    def __repr__(self) -> str:
        return f"CausalExplorer({self._map!r})"

    @property
    def causal_map(self) -> CausalMap:
        """The map that is shown."""
        return self._map

    def trace_cell(self, layer: int, column: int, *, part: Part | None = None) -> Trace:
        """Patch and trace the run of a cell, show it, and return its trace.

        Parameters
        ----------
        layer
            The model's layer.
        column
            Index of the span of tokens, or number of the head or expert.
        part
            The shown part by default.

        Raises
        ------
        LabError
            If there is no such cell, or the explorer has no model.
        """
        lab = self._model()
        chosen: Any = self.part if part is None else part
        place = self._place(chosen, layer, column)
        with self._running():
            if not self._plain:
                runs = (("clean", self._map.clean), ("corrupted", self._map.corrupted))
                self._plain = [
                    self._summary(self._traced(lab, request, self._map.active_edit), name)
                    for name, request in runs
                ]
            found = self._traced(lab, self._map.base_request, self._map.edit(lab, place))
            opened = {
                "part": place.part,
                "cell": [place.layer, place.column],
                "label": sendable(self._map.label(place)),
                "sides": [*self._plain, self._summary(found, "patched")],
            }
        with self.hold_sync():
            self.trace = found
            if place.part != self.part:
                self.part = place.part
            self.cell = [place.layer, place.column]
            self._opened = opened
        return found

    def explorer(self) -> Explorer:
        """Return the explorer of the trace behind the opened cell.

        Raises
        ------
        LabError
            If no cell was opened.
        """
        if self.trace is None:
            raise LabError(
                "No cell was opened.", hint="Click a cell, or call explorer.trace_cell(layer, column)."
            )
        return Explorer(self.trace)

    def to_html(self, path: str | Path) -> Path:
        """Write the explorer as one HTML file that needs neither kernel nor network, and return its path.

        The file has the cells of every part, and the trace of the opened cell as far as the view shows it.

        Raises
        ------
        LabError
            If the folder does not exist.
        """
        names = ("part", "cell", "_facts", "_cells", "_opened", "_ack", "_notice")
        html, _ = self._static_fallback()
        return write_page(
            path,
            {name: getattr(self, name) for name in names} | {"busy": False, "_can_run": False},
            {f"part-{part}": causal_buffer(self._map, part) for part in self._map.parts},
            title=f"Causal map of {self._map.model}",
            fallback=html,
            program="causal/causal_page.js",
            style=self._css,
        )

    def _static_fallback(self) -> tuple[str, str]:
        part: Any = self.part
        return str(causal_map_html(self._map, part)), causal_map_text(self._map, part)

    def _describe(self) -> dict[str, Any]:
        data = self._map
        return {
            "model": sendable(data.model),
            "patching": data.patching,
            "method": data.method,
            "answer": sendable(data.answer_text),
            "clean": round(data.clean_logprob, 6),
            "corrupted": round(data.corrupted_logprob, 6),
            "draws": data.draws,
            "parts": list(data.parts),
        }

    def _model(self) -> Lab:
        if self._lab is None:
            raise LabError(
                "This CausalExplorer has no model to run.",
                hint="Make it with CausalExplorer(found, lab=lab).",
            )
        return self._lab

    def _place(self, part: Any, layer: int, column: int) -> CausalEffect:
        """Return a cell of the map.

        Raises
        ------
        LabError
            If it has no such cell.
        """
        grid = self._map.grid(part)
        row = grid.row(layer)
        column = whole_number("column", column, minimum=0, maximum=grid.effects.shape[1] - 1)
        return CausalEffect(grid.part, layer, column, float(grid.effects[row, column]), None)

    @property
    def _position(self) -> int:
        """The token after which the answer is predicted."""
        return len(self._map.clean_tokens) - len(self._map.answer)

    def _traced(self, lab: Lab, request: Request, edit: Edit) -> Trace:
        asked = LogitLensRequest(positions=[self._position], top=5, targets=(self._map.answer[0],))
        count = len(self._map.answer)
        limited = request.with_options(max_new_tokens=count)
        return lab.trace(limited, edit=edit, attention=True, logit_lens=asked, temperature=0.0)

    def _summary(self, trace: Trace, name: str) -> dict[str, Any]:
        return run_summary(trace, self._position, self._map.answer[0], name)

    def _show_part(self, change: dict[str, Any]) -> None:
        with self.hold_sync():
            self.cell = []
            self._cells = causal_buffer(self._map, change["new"])

    @traitlets.validate("part")
    def _check_part(self, proposal: dict[str, Any]) -> str:
        return self._map.grid(proposal["value"]).part

    @traitlets.validate("cell")
    def _check_cell(self, proposal: dict[str, Any]) -> list[int]:
        if not proposal["value"]:
            return []
        if len(proposal["value"]) != 2:
            raise LabError(
                f"A cell is a layer and a column, not {proposal['value']}.", hint="explorer.cell = [3, 12]"
            )
        layer, column = proposal["value"]
        place = self._place(self.part, layer, column)
        return [place.layer, place.column]

    # ── messages of the views ──────────────────────────────────────────────────────────────────────────

    def _on_select(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Set the selection that a view sends."""
        with self.hold_sync():
            try:
                self.cell = [int(each) for each in content.get("cell", ())]
            finally:  # also when it was refused: the view then shows what holds
                self._ack = {"view": str(content.get("view", "")), "seq": content.get("seq", 0)}

    def _on_show(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Show another part."""
        if content.get("part") in PARTS:
            self.part = content["part"]

    def _on_open(self, content: dict[str, Any], _buffers: Sequence[Any]) -> None:
        """Trace a cell in the background."""
        layer, column = (int(content.get(name, -1)) for name in ("layer", "column"))
        part: Any = content.get("part", self.part)
        self._model()
        self._place(part, layer, column)
        self._in_background(lambda: self.trace_cell(layer, column, part=part))


def _checked(found: Any) -> CausalMap:
    if not isinstance(found, CausalMap):
        raise LabError(
            f"gl.CausalExplorer takes a causal map, not {type_name(found)}.",
            hint="gl.CausalExplorer(lab.causal_map(clean, corrupted), lab=lab)",
        )
    return found
