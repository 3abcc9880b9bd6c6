"""The effect of a grammar on an answer, as script-free HTML and as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.figure import OKABE_ITO, Plot, new_figure
from ..base.fonts import families, writable
from ..base.html import Markup, bdi, table
from ..base.text import counted, percent, visible, visible_token

if TYPE_CHECKING:
    from ...analysis.overruled import OverruledTokens

_MAX_ROWS = 200


def overruled_html(data: OverruledTokens) -> Markup:
    """Return a table of the tokens that a grammar bound, those that it overruled marked.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.overruled_tokens`.
    """
    rows = [
        (
            int(data.positions[row]),
            bdi(visible_token(data.chosen[row])),
            percent(float(data.probabilities[row])),
            percent(float(data.forbidden[row])),
            bdi(visible_token(data.first_choices[row])),
            "overruled" if data.overruled[row] else "",
        )
        for row in range(min(len(data), _MAX_ROWS))
    ]
    left = len(data) - len(rows)
    notes = ["Probabilities are the model's own, before the grammar, temperature, top-k and top-p."]
    notes += [f"{left:,} more rows: to_pandas()."] if left else []
    columns = ("position", "chosen", "probability", "forbidden", "the model's first choice", "")
    return table(rows, columns=columns, align="rlrrll", caption=visible(repr(data)), notes=notes)


def overruled_figure(data: OverruledTokens, *, limit: int = 60) -> Plot:
    """Draw the forbidden probability of each token, in another colour where the first choice was overruled.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.overruled_tokens`.
    limit
        Number of tokens.
    """
    rows = range(min(len(data), limit))
    names = [visible_token(data.chosen[row]) for row in rows]
    labels = [name if writable(name) else f"token {row}" for row, name in zip(rows, names, strict=True)]
    with new_figure(max(4.0, 1.2 + 0.18 * len(rows)), 2.4) as (figure, axes):
        for overruled, color in ((False, "sky"), (True, "vermillion")):
            chosen = [row for row in rows if data.overruled[row] == overruled]
            label = "first choice overruled" if overruled else "first choice allowed"
            axes.bar(chosen, data.forbidden[chosen], color=OKABE_ITO[color], label=label)
        axes.set(ylim=(0, 1), ylabel="forbidden probability")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8)
        axes.set_xticks(rows, labels, rotation=90, fontsize=8, fontfamily=list(families()), parse_math=False)
    drawn = counted(len(rows), "token")
    return Plot(figure, text=f"{visible(repr(data))}; {drawn} drawn")
