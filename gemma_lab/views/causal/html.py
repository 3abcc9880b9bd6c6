"""A causal map as tables without scripts: the heat map of a part, and the largest effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...evals.causal.cells import BY_SPAN
from ..base.colors import signed_colors
from ..base.html import Markup, bdi, footnotes, group, table, tag
from ..base.text import shorten, visible, visible_token
from .maps import causal_map_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...evals.causal.causal_map import CausalMap
    from ...evals.causal.cells import Part

#: Columns of the heat map at most, and rows of the table of effects.
_COLUMNS, _ROWS = 48, 8
_CELL = "padding:.1em .3em;text-align:right;font-variant-numeric:tabular-nums"
_HEAD = "padding:.1em .3em;max-width:6em;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_CORNER = "position:sticky;left:0;background:Canvas;color:CanvasText;font-weight:600;padding:.1em .5em"
#: Effects below this fraction of the largest are coloured, but not written.
_WRITTEN = 0.05


def causal_map_html(data: CausalMap, part: Part | None = None) -> Markup:
    """Return a part of a causal map as a table of layers × tokens, and the largest effects.

    Parameters
    ----------
    data
        From `gemma_lab.Lab.causal_map`.
    part
        The part. Default: the first one of the map, and the largest effects of all parts.
    """
    chosen = data.parts[0] if part is None else part
    rows = [
        (
            bdi(visible(data.label(each))),
            f"{each.effect:+.3f}",
            "" if each.p is None else f"{each.p:.2g}",
        )
        for each in data.top(_ROWS, part=part)
    ]
    notes = [] if not data.draws else [
        f"p: controls of {data.draws} that reach as far in any cell of the part, plus 1, ÷ {data.draws + 1}."
    ]  # fmt: skip
    best = table(
        rows, columns=("patched", "change of log p, nats", "p"), align="lrr",
        caption="Largest effects", notes=notes,
    )  # fmt: skip
    return group(causal_map_text(data, chosen), causal_grid_html(data, chosen), best, style="max-width:100%")


def causal_grid_html(data: CausalMap, part: Part) -> Markup:
    """Return the effects of a part as a coloured table, last layer on top.

    Of many columns, those with the largest effects are shown, in their order.
    """
    grid = data.grid(part)
    columns = _columns(grid.effects)
    out = data.stands_out(part)
    limit = max(float(np.nanmax(np.abs(grid.effects))) if np.isfinite(grid.effects).any() else 0.0, 1e-9)
    head = [_head(data, part, column) for column in columns]
    body = []
    for row in range(len(grid.layers) - 1, -1, -1):
        cells = [_cell(float(grid.effects[row, column]), limit, bool(out[row, column])) for column in columns]
        body.append(tag("tr", tag("th", grid.layers[row], scope="row", style=_CORNER), *cells))
    listed = tag(
        "table",
        tag("thead", tag("tr", tag("th", "layer", scope="col", style=_CORNER), *head)),
        tag("tbody", *body),
        style="border-collapse:collapse;font-size:12px",
    )
    left = grid.effects.shape[1] - len(columns)
    notes = ["Orange raises, purple lowers the answer's log-probability, nats. Bold: beyond all controls."]
    notes += [f"{left:,} columns with smaller effects are not shown."] if left else []
    name = tag("div", visible(causal_map_text(data, part)), style="margin:.25em 0")
    return name + tag("div", listed, style="overflow-x:auto") + footnotes(notes)


def _columns(effects: NDArray[np.float64]) -> list[int]:
    largest = np.nan_to_num(np.abs(effects)).max(axis=0) if effects.size else np.zeros(0)
    return sorted(int(each) for each in np.argsort(-largest, kind="stable")[:_COLUMNS])


def _head(data: CausalMap, part: Part, column: int) -> Markup:
    if part not in BY_SPAN:
        return tag("th", column, scope="col", style=_HEAD)
    start, stop = data.spans[column]
    differs = bool(set(data.differing) & set(range(start, stop)))
    text = shorten(visible_token(data.span_text(column)), 24)
    style = f"{_HEAD};text-decoration:underline" if differs else _HEAD
    place = f"token {start:,}" if stop == start + 1 else f"tokens {start:,} to {stop - 1:,}"
    return tag("th", bdi(text, title=f"{place}{', differs' if differs else ''}"), scope="col", style=style)


def _cell(effect: float, limit: float, out: bool) -> Markup:
    if not np.isfinite(effect):
        return tag("td", "", style=_CELL)
    red, green, blue = signed_colors(np.asarray([effect / limit]))[0].tolist()
    ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
    style = f"{_CELL};background:rgb({red},{green},{blue});color:{ink};font-weight:{700 if out else 400}"
    written: Any = f"{effect:+.1f}" if abs(effect) >= _WRITTEN * limit else ""
    return tag("td", written, style=style, title=f"{effect:+.3f} nats")
