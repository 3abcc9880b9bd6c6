"""The logit lens: a table of each layer's top-1 token by position, and ranks and probabilities by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace
from ...trace.records.logit_lens import LENS_NAMES, LogitLens
from ..base.colors import amount_colors
from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, footnotes, group, tag
from ..base.text import visible, visible_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trace.trace import Trace

#: Positions shown at most; of more, the last ones.
MAX_POSITIONS = 48
#: What is decoded, by kind of lens.
_HOW = {
    "logit": "Each layer's output",
    "jacobian": "Each layer's output, multiplied by the mean Jacobian of the last layer's output,",
}
_CELL = "padding:.15em .4em;max-width:9em;overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_CORNER = "position:sticky;left:0;background:Canvas;color:CanvasText;font-weight:600;padding:.15em .5em"


def logit_lens_html(trace: Trace | LogitLens, *, positions: Sequence[int] | None = None) -> Markup:
    """Return a logit or Jacobian lens as a table: the last layer on top, a column per position.

    Each cell holds the top-1 token of a layer, in its own script and direction; its colour is the token's
    probability, its title the next tokens. Bold cells agree with the last layer.

    Parameters
    ----------
    trace
        With a logit lens; or its ``logit_lens``, whose columns are then headed by positions.
    positions
        Rows of the trace, of those recorded. Default: the last 48.

    Raises
    ------
    BadTrace
        If the trace has no logit lens.
    LabError
        If one of the positions was not recorded.
    """
    logit_lens = _lens(trace)
    chosen = logit_lens.positions[-MAX_POSITIONS:].tolist() if positions is None else list(positions)
    indices = [logit_lens.index(position) for position in chosen]
    head = [
        tag("th", bdi(_token(trace, position), title=f"token {position:,}"), scope="col", style=_CELL)
        for position in chosen
    ]
    rows = [_row(logit_lens, row, indices) for row in range(len(logit_lens.layers) - 1, -1, -1)]
    left = len(logit_lens) - len(indices)
    notes = [
        f"{_HOW[logit_lens.kind]} through the final norm, unembedding and soft cap; only the last layer was "
        "trained for it. Darker: more probable. Bold: same as the last layer."
    ] + ([f"{left:,} earlier positions are not shown."] if left and positions is None else [])
    name = "Trace" if isinstance(trace, LogitLens) else bdi(visible(str(trace.meta.get("model", "model"))))
    table = tag(
        "table",
        tag("caption", name, f": {_name(logit_lens)}, next token by layer", style="text-align:start"),
        tag("thead", tag("tr", tag("th", "layer", scope="col", style=_CORNER), *head)),
        tag("tbody", *rows),
        style="border-collapse:collapse;font-size:12px",
    )
    return group(logit_lens_text(trace), table, footnotes(notes), style="max-width:100%;overflow-x:auto")


def logit_lens_text(trace: Trace | LogitLens) -> str:
    """Describe a logit lens in one stable line: its size, and from which layer on the last token is top-1."""
    lens = _lens(trace)
    last = lens.token_texts[int(lens.target_ids[-1, 0])]
    return (
        f"{_name(lens)} of {len(lens.layers)} layers × {len(lens):,} positions; at the last, "
        f"{visible(last)!r} is top-1 from layer {int(lens.stable_from_layer()[-1])} on"
    )


def logit_lens_figure(
    lens: LogitLens, position: int | None = None, *, targets: Sequence[int | str] = ()
) -> Plot:
    """Draw the rank and the probability of tokens by layer, at one position.

    Parameters
    ----------
    lens
        The logit lens of a trace.
    position
        Row of the trace. Default: the last recorded one.
    targets
        Of the followed tokens. Default: the top-1 of the last layer and all requested targets.

    Raises
    ------
    LabError
        If the position or a target was not recorded.
    """
    position = int(lens.positions[-1]) if position is None else position
    index = lens.index(position)
    followed: list[Any] = list(targets) if targets else [None, *lens.targets]
    texts, colors = [], list(OKABE_ITO.values())
    with new_figure(6.4, 3.0, ncols=2) as (figure, (left, right)):
        for number, target in enumerate(followed):
            token = int(lens.target_ids[index, 0]) if target is None else target
            name = lens.token_texts[token] if isinstance(token, int) else token
            label = f"id {token} (last layer)" if target is None else f"id {token}"
            label = f"{name} · {label}" if _is_plain(name) else label
            style: dict[str, Any] = {"color": colors[number % len(colors)], "ms": 4, "label": label}
            ranks, probabilities = lens.rank(target)[:, index], lens.probability(target)[:, index]
            left.plot(lens.layers, ranks + 1, marker="osD^v"[number % 5], **style)
            right.plot(lens.layers, probabilities, marker="osD^v"[number % 5], **style)
            texts.append(
                f"{name!r} rank {ranks[0] + 1:,} → {ranks[-1] + 1:,}, probability {probabilities[-1]:.3f}"
            )
        of = "" if lens.kind == "logit" else f", {_name(lens)}"
        left.set(yscale="log", xlabel="layer", title=f"Rank (1 is first){of}")
        left.invert_yaxis()
        right.set(ylim=(-0.02, 1.02), xlabel="layer", title="Probability")
        right.legend(frameon=False, fontsize=8)
        for axes in (left, right):
            hide_frame(axes, keep="left bottom")
    name = "" if lens.kind == "logit" else f"{_name(lens)}: "
    size = f"{len(lens.layers)} layers"
    return Plot(figure, text=f"{name}Token {position:,} by layer ({size}): {'; '.join(texts)}")


def _name(lens: LogitLens) -> str:
    return LENS_NAMES[lens.kind]


def _lens(trace: Trace | LogitLens) -> LogitLens:
    if isinstance(trace, LogitLens):
        return trace
    if trace.logit_lens is None or not len(trace.logit_lens):
        raise BadTrace(
            "The trace has no logit lens.",
            hint="Trace with logit_lens=True, or with logit_lens=[…] positions.",
        )
    return trace.logit_lens


def _token(trace: Trace | LogitLens, position: int) -> str:
    if isinstance(trace, LogitLens):
        return f"{position:,}"
    kind = str(trace.tokens.modalities[position])
    if kind in ("image", "video", "audio"):
        return f"⟨{kind}⟩"
    return _shown(str(trace.tokens.texts[position]) or str(trace.tokens.pieces[position]))


def _shown(text: str) -> str:
    """Return a token as it is written, and one of white space alone by its signs."""
    return visible(text) if text.strip() else visible_token(text)


def _row(lens: LogitLens, row: int, indices: list[int]) -> Markup:
    cells = []
    for index in indices:
        probability = float(np.exp(lens.logprobs[row, index, 0]))
        red, green, blue = amount_colors(np.asarray([min(probability, 1.0)]))[0].tolist()
        ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
        top = zip(lens.ids[row, index].tolist(), lens.logprobs[row, index], strict=True)
        title = ", ".join(f"{_shown(lens.token_texts[id_])} {np.exp(logprob):.3f}" for id_, logprob in top)
        weight = "700" if lens.ranks[row, index, 0] == 0 else "400"
        word = bdi(_shown(lens.token_texts[int(lens.ids[row, index, 0])]), title=title)
        style = f"{_CELL};background:rgb({red},{green},{blue});color:{ink};font-weight:{weight}"
        cells.append(tag("td", word, style=style))
    return tag("tr", tag("th", lens.layers[row], scope="row", style=_CORNER), *cells)


def _is_plain(text: str) -> bool:
    # a figure cannot shape every script, and would typeset text between dollars as a formula
    return text.isascii() and text.isprintable() and bool(text.strip()) and "$" not in text
