"""How often a fact was found in a long text, by depth and length, as a figure and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.figure import Plot, hide_frame, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...evals.needle_in_a_haystack import Haystack


def haystack_figure(found: Haystack) -> Plot:
    """Draw the grid: a column a length, a row a depth, the share found as colour and in words."""
    gate_weights = found.right / found.asked
    with new_figure(1.6 + 0.85 * max(len(found.lengths), 4), 1.4 + 0.42 * len(found.depths)) as (
        figure,
        axes,
    ):
        image = axes.imshow(
            gate_weights, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
        )
        for row in range(len(found.depths)):
            for column in range(len(found.lengths)):
                said = f"{found.right[row, column]} / {found.asked[row, column]}"
                ink = "white" if gate_weights[row, column] < 0.55 else "black"
                axes.text(column, row, said, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks(range(len(found.lengths)), [f"{length:,}" for length in found.lengths])
        axes.set_yticks(range(len(found.depths)), [f"{depth:.0%}" for depth in found.depths])
        axes.tick_params(length=0)
        axes.set(xlabel="tokens of the text", ylabel="depth of the fact")
        axes.set_title("Facts found, by where they stand")
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("share found")
        bar.outline.set_visible(False)
    return Plot(figure, text=haystack_text(found))


def haystack_text(found: Haystack) -> str:
    """Return one stable line: the share found by length, with its 95 % interval."""
    parts = [
        f"{length:,} tokens {share:.0%} [{low:.0%}, {high:.0%}]"
        for length, (share, low, high) in found.by_length().items()
    ]
    return f"Facts found over {len(found.depths)} depths (95 % Wilson intervals): {', '.join(parts)}"


def haystack_html(found: Haystack) -> Markup:
    """Return the grid as a table: what was found of what was asked, with 95 % Wilson intervals."""
    rows = []
    for row, depth in enumerate(found.depths):
        cells: list[object] = [f"{depth:.0%}"]
        for column, length in enumerate(found.lengths):
            low, high = found.interval(depth, length)
            cells.append(f"{found.right[row, column]} of {found.asked[row, column]} ({low:.0%} – {high:.0%})")
        rows.append(cells)
    return table(
        rows, columns=["depth", *(f"{length:,} tokens" for length in found.lengths)],
        caption=f"{found.model}: facts found in long texts", notes=["Ranges: 95 % Wilson intervals."],
    )  # fmt: skip
