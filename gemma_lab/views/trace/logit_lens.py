"""What each layer would say: layers by positions with the first choice in each cell, and ranks as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from ..base.colors import amounts
from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, escape, footnotes
from ..chat.chat import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trace.records.logit_lens import LogitLens
    from ...trace.trace import Trace

#: Positions that a page shows at most; of more, the last ones.
MOST_POSITIONS = 48
_CELL = "padding:.15em .4em;max-width:9em;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_CORNER = "position:sticky;left:0;background:Canvas;color:CanvasText;font-weight:600;padding:.15em .5em"


def logit_lens_html(trace: Trace, *, positions: Sequence[int] | None = None) -> Markup:
    """Return a lens as a table without scripts: the last layer above, a column a position.

    Each cell holds the token that this layer ranks first, in its own script and direction; its colour is that
    token's probability, its title the next ones. A cell in bold agrees with the last layer.

    Parameters
    ----------
    trace
        With a lens.
    positions
        Which of its positions; default the last 48.

    Raises
    ------
    BadTrace
        If the trace has no lens.
    LabError
        If the lens did not look at one of the positions.
    """
    logit_lens = _lens(trace)
    chosen = logit_lens.positions[-MOST_POSITIONS:].tolist() if positions is None else list(positions)
    places = [logit_lens.index(position) for position in chosen]
    head = "".join(
        f'<th scope="col" style="{_CELL}">{bdi(_token(trace, position), title=f"token {position:,}")}</th>'
        for position in chosen
    )
    rows = "".join(_row(logit_lens, row, places) for row in range(len(logit_lens.layers) - 1, -1, -1))
    left = len(logit_lens) - len(places)
    notes = [
        "Each layer's output under the final norm, head and soft cap; only the last layer was trained to be "
        "read so. Darker: more probable. Bold: as the last layer."
    ] + ([f"{left:,} earlier positions are not shown."] if left and positions is None else [])
    return Markup(
        f'<div role="group" aria-label="{escape(logit_lens_text(trace))}" style="max-width:100%;overflow-x:auto">'
        f'<table style="border-collapse:collapse;font-size:12px"><caption style="text-align:start">'
        f"{bdi(visible(str(trace.meta.get('model', 'model'))))}: what each layer would say next</caption>"
        f'<thead><tr><th scope="col" style="{_CORNER}">layer</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f"{footnotes(notes)}</div>"
    )


def logit_lens_text(trace: Trace) -> str:
    """Return one stable line: what is read, and from which layer on the last position stays with its word."""
    logit_lens = _lens(trace)
    last = logit_lens.token_texts[int(logit_lens.target_ids[-1, 0])]
    return (
        f"Lens on {len(logit_lens.layers)} layers × {len(logit_lens):,} positions; the last says {visible(last)!r}, "
        f"first from layer {int(logit_lens.stable_from_layer()[-1])} on"
    )


def logit_lens_figure(logit_lens: LogitLens, position: int, *, targets: Sequence[int | str] = ()) -> Plot:
    """Draw the rank and the probability of tokens through the layers, at one position.

    Parameters
    ----------
    logit_lens
        The lens.
    position
        A row of the trace.
    targets
        Of the followed tokens; default the last layer's choice and all that were asked for.

    Raises
    ------
    LabError
        If the lens did not look there, or did not follow one of them.
    """
    place = logit_lens.index(position)
    followed: list[Any] = list(targets) if targets else [None, *logit_lens.targets]
    said, colours = [], list(OKABE_ITO.values())
    with new_figure(6.4, 3.0, ncols=2) as (figure, (left, right)):
        for number, target in enumerate(followed):
            index = int(logit_lens.target_ids[place, 0]) if target is None else target
            name = logit_lens.token_texts[index] if isinstance(index, int) else index
            label = f"id {index} (last layer)" if target is None else f"id {index}"
            label = f"{name} · {label}" if _plain(name) else label
            style = {
                "color": colours[number % len(colours)], "marker": "osD^v"[number % 5], "ms": 4,
                "label": label,
            }  # fmt: skip
            ranks, gate_weights = logit_lens.rank(target)[:, place], logit_lens.probability(target)[:, place]
            left.plot(logit_lens.layers, ranks + 1, **style)
            right.plot(logit_lens.layers, gate_weights, **style)
            said.append(
                f"{name!r} rank {ranks[0] + 1:,} → {ranks[-1] + 1:,}, probability {gate_weights[-1]:.3f}"
            )
        left.set(yscale="log", xlabel="layer", title="Rank (1 is first)")
        left.invert_yaxis()
        right.set(ylim=(-0.02, 1.02), xlabel="layer", title="Probability")
        right.legend(frameon=False, fontsize=8)
        for axes in (left, right):
            hide_frame(axes, keep="left bottom")
    return Plot(figure, text=f"Token {position:,} through {len(logit_lens.layers)} layers: {'; '.join(said)}")


def _lens(trace: Trace) -> LogitLens:
    if trace.logit_lens is None or not len(trace.logit_lens):
        raise BadTrace(
            "The trace has no lens.", hint="Trace with logit_lens=True, or with logit_lens=[…] positions."
        )
    return trace.logit_lens


def _token(trace: Trace, position: int) -> str:
    kind = str(trace.tokens.modalities[position])
    if kind in ("image", "video", "audio"):
        return f"⟨{kind}⟩"
    return visible(str(trace.tokens.texts[position]) or str(trace.tokens.pieces[position]))


def _row(logit_lens: LogitLens, row: int, places: list[int]) -> str:
    cells = []
    for place in places:
        share = float(np.exp(logit_lens.logprobs[row, place, 0]))
        red, green, blue = amounts(np.asarray([min(share, 1.0)]))[0].tolist()
        ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
        more = ", ".join(
            f"{visible(logit_lens.token_texts[index])} {np.exp(logprob):.3f}"
            for index, logprob in zip(
                logit_lens.ids[row, place].tolist(), logit_lens.logprobs[row, place], strict=True
            )
        )
        weight = "700" if logit_lens.ranks[row, place, 0] == 0 else "400"
        word = bdi(visible(logit_lens.token_texts[int(logit_lens.ids[row, place, 0])]), title=more)
        look = f"background:rgb({red},{green},{blue});color:{ink};font-weight:{weight}"
        cells.append(f'<td style="{_CELL};{look}">{word}</td>')
    return f'<tr><th scope="row" style="{_CORNER}">{logit_lens.layers[row]}</th>{"".join(cells)}</tr>'


def _plain(text: str) -> bool:
    # a figure cannot shape every script, and would set what stands between dollars as a formula
    return text.isascii() and text.isprintable() and bool(text.strip()) and "$" not in text
