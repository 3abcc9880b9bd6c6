"""Causal maps as heat maps: layers × tokens, heads or experts, and on the prompt's picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import LabError
from ...evals.causal.cells import BY_SPAN
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.fonts import families, writable
from ..base.text import shorten, visible, visible_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...evals.causal.causal_map import CausalMap, Measure
    from ...evals.causal.cells import Part

#: Columns that are labelled one by one.
_LABELLED = 96
_PART_NAMES = {
    "residual": "residual stream", "attention": "attention", "mlp": "dense MLP", "experts": "sum of experts",
    "head": "single heads", "expert": "single experts",
}  # fmt: skip
#: Purple for negative, orange for positive effects: distinguishable with any colour vision.
_COLORS = "PuOr_r"


def causal_map_figure(
    data: CausalMap,
    part: Part | None = None,
    *,
    measure: Measure = "effect",
    layers: Sequence[int] | None = None,
) -> Plot:
    """Draw the effects of one part as a heat map, layers upwards.

    Framed cells stand out from the controls. Tokens that differ between the two prompts are written in
    vermillion, as ``clean → corrupted``. Columns before the first token with an effect are left out.

    Parameters
    ----------
    data
        From `gemma_lab.Lab.causal_map`.
    part
        What was patched. Default: the first part of the map.
    measure
        ``"effect"``, nats, or ``"normalised"``: 0 is the corrupted run, 1 the clean one.
    layers
        Of the map; all by default.

    Raises
    ------
    LabError
        If the map has no such part, layer or measure.
    """
    chosen = data.parts[0] if part is None else part
    grid = data.grid(chosen)
    rows = list(range(len(grid.layers))) if layers is None else [grid.row(layer) for layer in layers]
    effects, out = data.effects(chosen, measure=measure)[rows], data.stands_out(chosen)[rows]
    first = _first_column(grid.effects) if chosen in BY_SPAN else 0
    shown, out = effects[:, first:], out[:, first:]
    with new_figure(*_size(shown.shape)) as (figure, axes):
        image = _draw(axes, shown, measure)
        for row, column in zip(*np.nonzero(out), strict=True):
            for frame in _frames(column, row):
                axes.add_patch(frame)
        axes.set_yticks(range(len(rows)), [str(grid.layers[row]) for row in rows])
        axes.set_ylabel("layer")
        if chosen in BY_SPAN:
            _token_ticks(axes, data, first)
        else:
            axes.set_xlabel(chosen)
        axes.tick_params(length=0)
        how = ", by gradient" if data.method == "gradient" else ""
        axes.set_title(f"Causal map of {visible(data.model)}: {_PART_NAMES[chosen]}{how}")
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.01)
        bar.set_label(_bar_label(data, measure), fontfamily=list(families()), parse_math=False)
        bar.outline.set_visible(False)
    return Plot(figure, text=causal_map_text(data, chosen))


def causal_picture_figure(data: CausalMap, *, layers: Sequence[int] | None = None, image: int = 0) -> Plot:
    """Draw a picture of the clean prompt with the effect of each of its soft tokens, a panel per layer.

    The area of a square is the size of its effect.

    Parameters
    ----------
    data
        A map of the residual stream with one token per span.
    layers
        Of the map; at most six, spread over all, by default.
    image
        Index of the picture, counted from 0.

    Raises
    ------
    LabError
        If the clean prompt has no such picture, or the spans hold several tokens.
    """
    tokens = data.clean_tokens
    pictures = data.clean.of_kind("image")
    places = np.flatnonzero((tokens.modalities == "image") & (tokens.media_index == image))
    by_token = {start: column for column, (start, stop) in enumerate(data.spans) if stop == start + 1}
    if image >= len(pictures) or not len(places) or not all(int(place) in by_token for place in places):
        raise LabError(
            f"This map has {len(pictures)} pictures in its clean prompt and {len(data.spans)} spans; picture "
            f"{image} needs one span per soft token.",
            hint="Make the map with requests that have images, and spans=1.",
        )
    grid = data.grid("residual")
    last = max(0, len(grid.layers) - 2)  # after the last layer, only the token that predicts matters
    default = sorted({round(last * step / 5) for step in range(6)})
    rows = default if layers is None else [grid.row(layer) for layer in layers]
    columns = [by_token[int(place)] for place in places]
    effects = grid.effects[np.ix_(rows, columns)]
    limit = max(float(np.nanmax(np.abs(effects))), 1e-9)
    with new_figure(1.9 * len(rows) + 0.9, 2.6, ncols=len(rows), squeeze=False) as (figure, axes):
        for panel, row, values in zip(axes[0], rows, effects, strict=True):
            gray = (
                np.asarray(pictures[image].convert("L")) // 16 * 16
            )  # few colours, so that the PNG is small
            panel.imshow(gray, cmap="gray", vmin=-160, vmax=255)
            drawn = _boxes(panel, tokens.boxes[places], values, limit)
            panel.set_title(f"after layer {grid.layers[row]}", fontsize=9)
            panel.set(xticks=[], yticks=[])
            hide_frame(panel)
        bar = figure.colorbar(drawn, ax=axes[0], pad=0.01)
        bar.set_label(_bar_label(data, "effect"), fontfamily=list(families()), parse_math=False)
        bar.outline.set_visible(False)
    sums = ", ".join(
        f"layer {grid.layers[row]} {values.max():+.2f}" for row, values in zip(rows, effects, strict=True)
    )
    return Plot(figure, text=f"Largest effect of one soft token of the picture on the answer, nats: {sums}")


def causal_map_text(data: CausalMap, part: Part) -> str:
    """Describe a part of a causal map in one stable line."""
    best = data.top(1, part=part)
    where = f"; largest {best[0].effect:+.2f} nats at {data.label(best[0])}" if best else ""
    out = ""
    if data.draws:
        cells = int(np.isfinite(data.grid(part).effects).sum())
        out = (
            f"; {int(data.stands_out(part).sum())} of {cells} cells "
            f"beyond all {data.draws} controls ({_limits(data, part)})"
        )
    under = f"; under {data.active_edit!r}" if data.active_edit else ""
    return (
        f"{data.patching} of the {_PART_NAMES[part]} of {data.model}: log-probability of "
        f"{data.answer_text!r} {data.corrupted_logprob:.2f} corrupted, {data.clean_logprob:.2f} clean"
        f"{where}{out}{under}"
    )


def _limits(data: CausalMap, part: Part) -> str:
    """Return the largest effects by chance, of tokens before the answer and where it is predicted."""
    thresholds, readout = data.thresholds(part), data.grid(part).readout
    named = ((thresholds[~readout], " nats"), (thresholds[readout], " where it is predicted"))
    return ", ".join(f"{values[0]:+.2f}{words}" for values, words in named if len(values))


def _draw(axes: Any, effects: NDArray[np.float64], measure: Measure) -> Any:
    limit = max(float(np.nanmax(np.abs(effects))) if np.isfinite(effects).any() else 0.0, 1e-9)
    if measure == "normalised":
        limit = max(limit, 1.0)
    axes.set_facecolor("#E4E4E4")  # where there is no cell
    return axes.imshow(
        np.ma.masked_invalid(effects),
        cmap=_COLORS,
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
        origin="lower",
    )


def _frames(column: int, row: int) -> list[Any]:
    """Return the frame of a cell, with a light line inside: it is seen on dark cells, too."""
    from matplotlib.patches import Rectangle

    return [
        Rectangle(
            (column - half, row - half), 2 * half, 2 * half, fill=False, edgecolor=color, linewidth=width
        )
        for half, color, width in ((0.42, "white", 2.2), (0.45, INK, 1.0))
    ]


def _token_ticks(axes: Any, data: CausalMap, first: int) -> None:
    columns = range(first, len(data.spans))
    step = max(1, -(-len(columns) // _LABELLED))
    at = list(columns)[::step]
    labels = _token_labels(data, at)
    axes.set_xticks([column - first for column in at], labels, rotation=90, fontsize=7.5)
    axes.set_xlabel("token that is patched" if step == 1 else f"token that is patched, every {step}th named")
    differing = set(data.differing)
    for column, label in zip(at, axes.get_xticklabels(), strict=True):
        label.set_fontfamily(list(families()))
        label.set_parse_math(False)
        if differing & set(range(*data.spans[column])):
            label.set_color(OKABE_ITO["vermillion"])
            label.set_fontweight("bold")


def _token_labels(data: CausalMap, columns: Sequence[int]) -> list[str]:
    """Return the label of each column; of soft tokens of a picture, one per row of it."""
    tokens, labels, before = data.clean_tokens, [], ""
    for column in columns:
        start = data.spans[column][0]
        kind, place = str(tokens.modalities[start]), ""
        if kind == "image" and tokens.boxes[start, 2] > 0:
            _, y0, _, y1 = tokens.boxes[start].tolist()
            place = f"image, row {round(y0 / max(1, y1 - y0)) + 1}"
        elif kind in ("video", "audio") and tokens.times[start, 0] >= 0:
            place = f"{kind} {tokens.times[start, 0] / 1000:.1f} s"
        text = place or plain_token(data.span_text(column))
        labels.append("" if place and text == before else text)
        before = text
    return labels


def plain_token(text: str) -> str:
    """Return a token as a figure can draw it, at most 16 characters; a □ for each that it cannot."""
    shown = shorten(visible_token(text), 16)
    return "".join(character if writable(character) else "□" for character in shown)


def _first_column(effects: NDArray[np.float64]) -> int:
    """Return the column before the first with an effect: what precedes it is the same in both prompts."""
    moved = np.flatnonzero((np.nan_to_num(effects) != 0).any(axis=0))
    return max(0, int(moved[0]) - 1) if len(moved) else 0


def _size(shape: tuple[int, ...]) -> tuple[float, float]:
    rows, columns = shape
    return min(13.0, max(4.2, 1.9 + 0.17 * columns)), 1.9 + max(1.0, min(7.5, 0.24 * rows))


def _bar_label(data: CausalMap, measure: Measure) -> str:
    if measure == "normalised":
        return "0 corrupted … 1 clean"
    return f"change of log p({plain_token(data.answer_text)}), nats"


def _boxes(panel: Any, boxes: NDArray[np.int32], values: NDArray[np.float64], limit: float) -> Any:
    """Draw a square per soft token, coloured by its effect and as large as that is (Hinton's diagram)."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    drawn = ScalarMappable(Normalize(-limit, limit), _COLORS)
    for (x0, y0, x1, y1), value in zip(boxes.tolist(), values.tolist(), strict=True):
        side = min(1.0, abs(value) / limit) ** 0.5
        if side < 0.1:
            continue
        width, height = side * (x1 - x0), side * (y1 - y0)
        corner = ((x0 + x1 - width) / 2, (y0 + y1 - height) / 2)
        panel.add_patch(
            Rectangle(corner, width, height, facecolor=drawn.to_rgba(value), edgecolor=INK, linewidth=0.5)
        )
    return drawn
