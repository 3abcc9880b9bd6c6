"""Summary of an answer, token by token, as script-free HTML: attention, experts and logit lens together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...analysis.attention.rows import image_patches
from ..attention.figures import draw_image_attention
from ..base.colors import png_data_url
from ..base.html import TEXT, Markup, bdi, figure, footnotes, group, heading, join, table, tag
from ..base.text import visible
from ..base.tokens import model_name, token_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ...trace.trace import Trace

#: Tokens of the answer with a row of the table.
MAX_TOKENS = 48
_TOP, _MAX_IMAGES = 3, 4


def token_summary_html(trace: Trace, *, tokens: Sequence[int] = ()) -> Markup:
    """Return an answer with the top keys, top experts and logit lens of each token.

    Parameters
    ----------
    trace
        With at least one of attention, routing and logit lens.
    tokens
        Rows of the token table. Default: the answer, or the last tokens of a prompt without one.
    """
    chosen = list(tokens) or answer_tokens(trace)
    shown = chosen[:MAX_TOKENS]
    columns = ["token", "text", "predicted at"]
    columns += ["attends to most (mean of all heads)"] if _has_top_keys(trace) else []
    columns += ["top experts of the last layer"] if trace.routing is not None else []
    if trace.logit_lens is not None:
        jacobian = trace.logit_lens.kind == "jacobian"
        columns.append("top-1 from layer (Jacobian lens)" if jacobian else "top-1 from layer")
    left = len(chosen) - len(shown)
    notes = ["A generated token is predicted at the token before it."]
    notes += [f"{left:,} more tokens are not shown."] if left else []
    return group(
        token_summary_text(trace),
        heading(bdi(visible(model_name(trace))), ": the answer token by token"),
        tag("div", visible(_answer(trace)), dir="auto", style=TEXT),
        _images(trace, shown),
        table([_row(trace, token) for token in shown], columns=columns, align="r" + "l" * (len(columns) - 1)),
        footnotes(notes),
    )


def token_summary_text(trace: Trace) -> str:
    """Describe a traced answer in one stable line: what was recorded, and the answer."""
    recorded = [name for name in ("attention", "routing", "logit_lens") if getattr(trace, name) is not None]
    return (
        f"{visible(model_name(trace))}: {len(trace):,} tokens with {', '.join(recorded)}; "
        f"answer {visible(_answer(trace)).strip()[:80]!r}"
    )


def deciding_row(trace: Trace, token: int) -> int:
    """Return the row at which a token was predicted: the one before it if it was generated, else its own."""
    return max(0, token - 1) if trace.tokens.generated[token] else token


def answer_tokens(trace: Trace) -> list[int]:
    """Return the rows of the answer; without one, the last eight of the prompt."""
    generated = np.flatnonzero(trace.tokens.generated).tolist()
    return [int(row) for row in generated] or list(range(max(0, len(trace) - 8), len(trace)))


def mean_attention(trace: Trace, row: int) -> NDArray[np.float32]:
    """Return the attention of a row, ``[tokens]``: mean of all layers and heads, from their top keys."""
    mean = np.zeros(len(trace), dtype=np.float32)
    attention = trace.attention
    if attention is None:
        return mean
    for layout in attention.layers:
        keys, weights = (values[:, row] for values in attention.top_keys(layout.layer))
        np.add.at(mean, keys[keys >= 0], weights[keys >= 0] / len(keys) / len(attention.layers))
    return mean


def _answer(trace: Trace) -> str:
    return "".join(str(text) for text in trace.tokens.texts[trace.tokens.generated])


def _has_top_keys(trace: Trace) -> bool:
    return trace.attention is not None and trace.attention.top_k > 0


def _row(trace: Trace, token: int) -> tuple[object, ...]:
    row = deciding_row(trace, token)
    cells: list[object] = [f"{token:,}", bdi(token_label(trace, token)), bdi(token_label(trace, row))]
    if _has_top_keys(trace):
        mean = mean_attention(trace, row)
        mean[0] = 0
        keys = [int(key) for key in np.argsort(-mean, kind="stable")[:_TOP] if mean[key] > 0]
        cells.append(join([join([bdi(token_label(trace, key)), f" {mean[key]:.1%}"]) for key in keys], " · "))
    if trace.routing is not None:
        routing = trace.routing.layer(trace.routing.layers[-1])
        order = np.argsort(-routing.weights[0][row], kind="stable")[:_TOP]
        cells.append(", ".join(str(expert) for expert in routing.ids[0][row][order].tolist()))
    if (lens := trace.logit_lens) is not None:
        recorded = row in lens.positions
        cells.append(str(int(lens.stable_from_layer()[lens.index(row)])) if recorded else "not recorded")
    return tuple(cells)


def _images(trace: Trace, tokens: Sequence[int]) -> Markup:
    """Return each image tinted by the attention of the answer, the mean of its tokens."""
    if not _has_top_keys(trace) or not tokens:
        return Markup("")
    mean = np.mean([mean_attention(trace, deciding_row(trace, token)) for token in tokens], axis=0)
    figures = []
    for image in range(min(_MAX_IMAGES, len(trace.images))):
        patches = image_patches(trace, image)
        caption = f"image {image + 1}: {mean[patches].sum():.1%} of the attention of the answer"
        address = png_data_url(draw_image_attention(trace, patches, mean[patches], image))
        figures.append(figure(address, caption, width=300))
    return join(figures)
