"""One prompt of a comparison as a picture of layers × tokens, without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.colors import heat_image, png_data_url
from ..base.html import Markup, bdi, figure, group, heading, table
from ..base.text import percent, shorten, visible, visible_token

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...evals.versus.comparison import Measure, Versus

#: Width and height of a cell in pixels, most tokens of a picture, and rows of the table.
_CELL, _MOST_TOKENS, _ROWS = (9, 14), 400, 8


def prompt_cells_html(versus: Versus, prompt: int) -> Markup:
    """Return the compared tokens of a prompt: a picture of layers × tokens, and the most different tokens.

    Parameters
    ----------
    versus
        From `gemma_lab.versus`.
    prompt
        Index of a prompt that both models read.
    """
    columns = np.flatnonzero(versus.columns[:, 0] == prompt)
    first, second = (visible(name) for name in versus.names)
    parts: list[object] = [
        heading(bdi(first), " and ", bdi(second), ": ", bdi(visible(_label(versus, prompt))))
    ]
    if versus.routing is not None:
        shown = columns[-_MOST_TOKENS:]
        image = heat_image(versus.routing.flipped[:, shown], cell=_CELL)
        left = len(columns) - len(shown)
        cut = f"; the first {left:,} tokens are left out" if left else ""
        layers, chance = versus.routing.layers, percent(float(versus.routing.chance.mean()))
        caption = (
            f"Slots flipped, layers {layers[0]} to {layers[-1]} downwards × {len(shown)} tokens; pale is 0, "
            f"dark is all{cut}. By chance {chance}."
        )
        parts.append(figure(png_data_url(image), caption))
    parts.append(
        table(
            [_row(versus, index) for index in _order(versus, columns)],
            columns=("row", "token", "next token", "KL, nats", "slots flipped"),
            align="rllrr",
            caption="Most different tokens of this prompt",
        )
    )
    return group(f"Comparison of {first} and {second}", *parts)


def prompt_cells_text(versus: Versus, prompt: int) -> str:
    """Return the compared tokens of a prompt in one line."""
    columns = np.flatnonzero(versus.columns[:, 0] == prompt)
    parts = [f"{len(columns)} tokens"]
    if versus.tokens is not None:
        kl = versus.tokens.kl[versus.tokens.prompt == prompt]
        parts.append(f"mean KL {kl.mean():.3g} nats over {len(kl)} tokens of the answer")
    if versus.routing is not None:
        parts.append(f"{versus.routing.flipped[:, columns].mean():.1%} of slots flipped")
    names = " and ".join(visible(name) for name in versus.names)
    return f"VersusExplorer({names}, {visible(_label(versus, prompt))!r}: {', '.join(parts)})"


def _label(versus: Versus, prompt: int) -> str:
    return shorten(" ".join(versus.answers[prompt].prompt.split()), 60)


def _order(versus: Versus, columns: NDArray[np.intp]) -> list[int]:
    measure: Measure = "flipped" if versus.tokens is None else "kl"
    values = np.nan_to_num(versus.by_token(measure)[columns], nan=-1.0)
    return [int(columns[at]) for at in np.argsort(-values, kind="stable")[:_ROWS] if values[at] >= 0]


def _row(versus: Versus, index: int) -> tuple[object, ...]:
    token = versus.token(index)
    following = "" if token.next_token is None else bdi(visible_token(token.next_token))
    flipped = "" if np.isnan(token.flipped) else percent(token.flipped)
    kl = "" if np.isnan(token.kl) else f"{token.kl:.3g}"
    return f"{token.row}", bdi(visible_token(token.token)), following, kl, flipped
