"""A needle-in-a-haystack test, by depth and length, as a figure and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.figure import Plot, hide_frame, new_figure
from ..base.html import Markup, table

if TYPE_CHECKING:
    from ...evals.needle_in_a_haystack import Haystack


def haystack_figure(data: Haystack) -> Plot:
    """Draw the grid, a column per length and a row per depth, with the fraction found."""
    shares = data.right / data.asked
    with new_figure(1.6 + 0.85 * max(len(data.lengths), 4), 1.4 + 0.42 * len(data.depths)) as (
        figure,
        axes,
    ):
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for row in range(len(data.depths)):
            for column in range(len(data.lengths)):
                label = f"{data.right[row, column]} / {data.asked[row, column]}"
                ink = "white" if shares[row, column] < 0.55 else "black"
                axes.text(column, row, label, ha="center", va="center", fontsize=8, color=ink)
        axes.set_xticks(range(len(data.lengths)), [f"{length:,}" for length in data.lengths])
        axes.set_yticks(range(len(data.depths)), [f"{depth:.0%}" for depth in data.depths])
        axes.tick_params(length=0)
        axes.set(xlabel="tokens of the text", ylabel="depth of the needle")
        axes.set_title("Needles found, by depth and length")
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("fraction found")
        bar.outline.set_visible(False)
    return Plot(figure, text=haystack_text(data))


def haystack_text(data: Haystack) -> str:
    """Describe the result in one stable line: the fraction found by length, with its 95 % interval."""
    parts = [
        f"{length:,} tokens {share:.0%} [{low:.0%}, {high:.0%}]"
        for length, (share, low, high) in data.by_length().items()
    ]
    return f"Needles found over {len(data.depths)} depths (95 % Wilson intervals): {', '.join(parts)}"


def haystack_html(data: Haystack) -> Markup:
    """Return the grid as a table of found and asked, with 95 % Wilson intervals."""
    rows = []
    for row, depth in enumerate(data.depths):
        cells: list[object] = [f"{depth:.0%}"]
        for column, length in enumerate(data.lengths):
            low, high = data.interval(depth, length)
            cells.append(f"{data.right[row, column]} of {data.asked[row, column]} ({low:.0%} – {high:.0%})")
        rows.append(cells)
    return table(
        rows, columns=["depth", *(f"{length:,} tokens" for length in data.lengths)],
        caption=f"{data.model}: needles found in long texts", notes=["Ranges: 95 % Wilson intervals."],
    )  # fmt: skip
