"""The bits in which the parts of a model are held, as a table and as a figure whose areas are bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...units import parameters
from ..base.figure import FAINT, INK, OKABE_ITO, Plot, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...models.quantization.weight_bits import WeightBits

_COLOURS = {
    "embedding": "sky",
    "head": "sky",
    "ple_table": "yellow",
    "attention": "blue",
    "mlp": "green",
    "experts": "vermillion",
    "vision": "purple",
    "vision_projector": "purple",
    "audio": "purple",
    "audio_projector": "purple",
}
_LEGEND = (
    ("token embedding", "sky"),
    ("per-layer embedding table", "yellow"),
    ("attention", "blue"),
    ("dense feed-forward", "green"),
    ("experts", "vermillion"),
    ("vision and audio", "purple"),
    ("router, norms, projections", "grey"),
)


def weight_bits_html(data: WeightBits) -> Markup:
    """Return the bits, bytes and formats of a model's parts as a table, a row per part and a sum."""
    rows = [
        (
            part.label,
            f"{part.weights:,}",
            f"{part.bits:.2f}" if part.weights else "–",
            _size(part.bytes),
            part.format,
        )
        for part in data.parts
    ]
    rows.append(("all", f"{data.weights:,}", f"{data.mean:.2f}", _size(data.bytes), data.summary))
    notes = ["Bits and bytes include scales and lookup tables."]
    if not data.measured:
        notes.append("Predicted from the shape; nothing was loaded.")
    left = data.left_out
    if left is not None:
        notes.append(f"{data.method} left the {left.label} as they are: {left.weights / data.weights:.0%}.")
    how = data.method or "no quantisation"
    return table(
        rows,
        columns=("part", "weights", "bits a weight", "bytes", "format"),
        caption=f"Weights of {data.name} as held in memory ({how})",
        align="lrrrl",
        notes=notes,
    )


def weight_bits_text(data: WeightBits) -> str:
    """Return the bits, bytes and formats of a model's parts as lines of text."""
    lines = [f"{'':34}{'weights':>16}{'bits':>8}{'bytes':>10}  format"]
    for part in data.parts:
        bits = f"{part.bits:.2f}" if part.weights else "–"
        lines.append(
            f"{part.label:34}{part.weights:>16,}{bits:>8}{_size(part.bytes):>10}  {part.format}".rstrip()
        )
    lines.append(f"{data.name:34}{data.weights:>16,}{data.mean:>8.2f}{_size(data.bytes):>10}  {data.summary}")
    if not data.measured:
        lines.append("Predicted from the shapes of the weights; nothing was loaded.")
    left = data.left_out
    if left is not None:
        share = left.weights / data.weights
        lines.append(
            f"{data.method} left the {left.label} in {left.bits:.0f} bits: {share:.0%} of the weights."
        )
    return "\n".join(lines)


def weight_bits_figure(data: WeightBits | Sequence[WeightBits]) -> Plot:
    """Draw the bits of a weight over the parts of one or several models: areas are bytes.

    Parameters
    ----------
    data
        From ``lab.bits()``; several are drawn below each other on the same axes.
    """
    shown = list(data) if isinstance(data, Sequence) else [data]
    top = max(max(part.bits for part in each.parts if part.weights) for each in shown)
    top = next((level for level in (16, 32, 64) if top <= level), top)
    with new_figure(10.5, 1.0 + 1.15 * len(shown), nrows=len(shown), squeeze=False, sharex=True) as (
        figure,
        grid,
    ):
        for axes, each in zip(grid[:, 0], shown, strict=True):
            _draw(axes, each, top)
        grid[-1, 0].set_xlabel("share of the weights, %; an area is a number of bytes")
        figure.supylabel("bits a weight", fontsize=9.5, color=INK)
        used = {_COLOURS.get(part.part, "grey") for each in shown for part in each.parts}
        from matplotlib.patches import Patch

        handles = [Patch(color=OKABE_ITO[colour], label=label) for label, colour in _LEGEND if colour in used]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))
    text = "; ".join(_sentence(each) for each in shown)
    return Plot(figure, text=f"Bits held: {text}")


def _draw(axes: Axes, data: WeightBits, top: float) -> None:
    start = 0.0
    for part in data.parts:
        if not part.weights:
            continue
        share = 100 * part.weights / data.weights
        axes.bar(
            start,
            part.bits,
            width=share,
            align="edge",
            color=OKABE_ITO[_COLOURS.get(part.part, "grey")],
            edgecolor="white",
            linewidth=0.6,
        )
        if share > 7:
            inside = part.bits > 0.45 * top
            colour = _COLOURS.get(part.part, "grey")
            dark = colour in ("blue", "vermillion", "grey", "green")
            axes.text(
                start + share / 2,
                part.bits / 2 if inside else part.bits + 0.04 * top,
                f"{part.bits:.1f}",
                ha="center",
                va="center" if inside else "bottom",
                color="white" if inside and dark else INK,
                fontsize=9,
                zorder=4,  # over the line of the mean
                bbox={"facecolor": OKABE_ITO[colour] if inside else "white", "edgecolor": "none", "pad": 1.5},
            )
        start += share
    axes.axhline(data.mean, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    method = data.method or "not quantised"
    title = f"{data.name}, {method}: mean {data.mean:.1f} bits (dashed), {_size(data.bytes)}"
    axes.set_title(title, fontsize=9.5, fontweight="normal")
    axes.set(xlim=(0, 100), ylim=(0, 1.12 * top))
    axes.set_yticks([level for level in (4, 8, 16, 32, 64) if level <= top])
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _sentence(data: WeightBits) -> str:
    parts: list[Any] = [f"{part.label} {part.bits:.1f}" for part in data.parts if part.weights]
    how = data.method or "not quantised"
    return f"{data.name} ({parameters(data.weights)}, {how}) {data.mean:.1f} on average: {', '.join(parts)}"


def _size(size: float) -> str:
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
