"""What stands behind an answer, on paper: what was looked at, which experts ran, what layers said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...analysis.attention.rows import image_patches
from ..attention.figures import drawn, name_of
from ..base.colors import data_url
from ..base.html import Markup, bdi, escape, footnotes, table
from ..chat.chat import visible
from .tokens import label_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...trace.trace import Trace

#: Tokens of the answer that have a row of the table.
MOST_TOKENS = 48
_TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.7;margin:.25em 0"
_KEYS = 3


def token_summary_html(trace: Trace, *, tokens: Sequence[int] = ()) -> Markup:
    """Return an answer with what stands behind each of its tokens, as script-free HTML.

    Parameters
    ----------
    trace
        With at least one of attention, routing and lens.
    tokens
        Which tokens; the answer, or the last ones of a prompt without one, when there are none.

    Returns
    -------
    Markup
    """
    read = list(tokens) or answer_of(trace)
    shown = read[:MOST_TOKENS]
    columns = ["token", "text", "decided by"]
    columns += ["looked at most (mean of all heads)"] if _looks(trace) else []
    columns += ["experts of the last layer"] if trace.routing is not None else []
    columns += ["first choice from layer"] if trace.logit_lens is not None else []
    rows = [_row(trace, token) for token in shown]
    left = len(read) - len(shown)
    notes = ["A token that the model wrote was decided by the row of the token before it."]
    notes += [f"{left:,} more tokens are not shown."] if left else []
    said = "".join(str(text) for text in trace.tokens.texts[trace.tokens.generated])
    return Markup(
        f'<div role="group" aria-label="{escape(token_summary_text(trace))}" style="max-width:64em">'
        f'<div style="font-weight:600;padding:.25em 0">{bdi(visible(name_of(trace)))}: '
        "behind the answer</div>"
        f'<div dir="auto" style="{_TEXT}">{escape(visible(said))}</div>{_pictures(trace, shown)}'
        f"{table(rows, columns=columns, align='r' + 'l' * (len(columns) - 1))}{footnotes(notes)}</div>"
    )


def token_summary_text(trace: Trace) -> str:
    """Return one stable line: what was said, and what is known of it."""
    known = [name for name in ("attention", "routing", "logit_lens") if getattr(trace, name) is not None]
    said = "".join(str(text) for text in trace.tokens.texts[trace.tokens.generated])
    return (
        f"{visible(name_of(trace))}: {len(trace):,} tokens with {', '.join(known)}; "
        f"answer {visible(said).strip()[:80]!r}"
    )


def row_behind(trace: Trace, token: int) -> int:
    """Return the row that stands behind a token: of one that the model wrote, the row before it."""
    return max(0, token - 1) if trace.tokens.generated[token] else token


def answer_of(trace: Trace) -> list[int]:
    """Return the tokens of the answer; without one, the last eight of the prompt."""
    written = np.flatnonzero(trace.tokens.generated).tolist()
    return [int(at) for at in written] or list(range(max(0, len(trace) - 8), len(trace)))


def means_of(trace: Trace, row: int) -> NDArray[np.float32]:
    """Return what a row gives every token: the mean of all layers and heads, from their heaviest keys."""
    found = np.zeros(len(trace), dtype=np.float32)
    attention = trace.attention
    if attention is None:
        return found
    for layout in attention.layers:
        keys, weights = (each[:, row] for each in attention.top_keys(layout.layer))
        np.add.at(found, keys[keys >= 0], weights[keys >= 0] / len(keys) / len(attention.layers))
    return found


def _looks(trace: Trace) -> bool:
    return trace.attention is not None and trace.attention.top_k > 0


def _row(trace: Trace, token: int) -> tuple[object, ...]:
    row = row_behind(trace, token)
    cells: list[object] = [f"{token:,}", bdi(label_of(trace, token)), bdi(label_of(trace, row))]
    if _looks(trace):
        means = means_of(trace, row)
        means[0] = 0
        best = [int(key) for key in np.argsort(-means, kind="stable")[:_KEYS] if means[key] > 0]
        cells.append(Markup(" · ".join(f"{bdi(label_of(trace, key))} {means[key]:.1%}" for key in best)))
    if trace.routing is not None:
        routing = trace.routing.layer(trace.routing.layers[-1])
        order = np.argsort(-routing.weights[0][row], kind="stable")[:_KEYS]
        cells.append(", ".join(str(expert) for expert in routing.ids[0][row][order].tolist()))
    if trace.logit_lens is not None:
        there = row in trace.logit_lens.positions
        cells.append(
            str(int(trace.logit_lens.stable_from_layer()[trace.logit_lens.index(row)]))
            if there
            else "not looked at"
        )
    return tuple(cells)


def _pictures(trace: Trace, tokens: Sequence[int]) -> str:
    """Return each picture tinted by what the whole answer looked at, the mean of its tokens."""
    if not _looks(trace) or not tokens:
        return ""
    means = np.mean([means_of(trace, row_behind(trace, token)) for token in tokens], axis=0)
    parts = []
    for image in range(min(4, len(trace.images))):
        patches = image_patches(trace, image)
        text = f"picture {image + 1}: {means[patches].sum():.1%} of all that the answer looked at"
        parts.append(
            f'<figure style="display:inline-block;margin:.5em 1em .5em 0"><img alt="{escape(text)}" '
            f'style="max-width:300px;border-radius:6px" '
            f'src="{data_url(drawn(trace, patches, means[patches], image))}">'
            f'<figcaption style="font-size:.85em;opacity:.8">{escape(text)}</figcaption></figure>'
        )
    return "".join(parts)
