"""The parts of a model that lie on a Q4_0 grid, as a table and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...models.quantization.weight_bits import NAMES
from ..base.figure import OKABE_ITO, Plot, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...models.quantization.q4_0_grid import QatGrid


def qat_grid_html(data: QatGrid) -> Markup:
    """Return the blocks of each part that lie on a Q4_0 grid as a table."""
    rows = [
        (part.label, f"{part.blocks:,}", f"{part.on_grid:,}", f"{part.fraction:.1%}", f"{part.levels:.1f}")
        for part in data.parts
    ]
    notes = [
        f"By chance a block of 32 continuous weights lies on a grid with a probability of at most "
        f"{data.chance:.0e}.",
        *(f"Not all looked at: {NAMES[part]}, {why}." for part, why in data.left_out.items()),
    ]
    return table(
        rows,
        columns=("part", "blocks", "on a Q4_0 grid", "fraction", "different weights of 32"),
        caption=f"{data.name}: {data.verdict}",
        align="lrrrr",
        notes=notes,
    )


def qat_grid_text(data: QatGrid) -> str:
    """Return the blocks of each part that lie on a Q4_0 grid as lines of text."""
    lines = [f"{data.name}: {data.verdict}"]
    lines += [
        f"{part.label:34}{part.on_grid:>8,} of {part.blocks:>7,} blocks ({part.fraction:.1%})"
        for part in data.parts
    ]
    return "\n".join(lines)


def qat_grid_figure(data: QatGrid) -> Plot:
    """Draw the fraction of the blocks of each part that lie on a Q4_0 grid."""
    labels = [part.label for part in data.parts]
    with new_figure(8.0, 1.2 + 0.34 * max(1, len(labels))) as (figure, axes):
        places = range(len(labels))[::-1]
        axes.barh(places, [100 * part.fraction for part in data.parts], color=OKABE_ITO["blue"], height=0.62)
        for place, part in zip(places, data.parts, strict=True):
            axes.text(100 * part.fraction + 1, place, f"{part.fraction:.1%}", va="center", fontsize=9)
        axes.set_yticks(list(places), labels)
        axes.set(xlim=(0, 112), title=f"{data.name}: {data.verdict}")
        axes.set_xticks(range(0, 101, 20))
        axes.set_xlabel(
            f"blocks of 32 weights on a Q4_0 grid, % (by chance at most {100 * data.chance:.0e} %)"
        )
        axes.tick_params(axis="y", length=0)
    fractions = ", ".join(f"{part.label} {part.fraction:.1%}" for part in data.parts)
    return Plot(figure, text=f"Blocks on a Q4_0 grid of {data.name}: {fractions or 'none looked at'}")
