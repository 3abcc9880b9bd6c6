"""Short labels of traces and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .text import visible_token

if TYPE_CHECKING:
    from ...trace.trace import Trace

#: Modalities of soft tokens.
MEDIA = ("image", "video", "audio")


def model_name(trace: Trace) -> str:
    """Return the name of the traced model."""
    return str(trace.meta.get("model", "trace"))


def token_label(trace: Trace, token: int) -> str:
    """Return a short label of a token: its text, or its position in an image or a sound."""
    text, (x0, y0, x1, y1) = str(trace.tokens.texts[token]), trace.tokens.boxes[token].tolist()
    if x1 > x0 >= 0 and y1 > y0 >= 0:
        return f"column {round(x0 / (x1 - x0)) + 1}, row {round(y0 / (y1 - y0)) + 1}"
    if trace.tokens.times[token, 0] >= 0:
        return f"{trace.tokens.times[token, 0] / 1000:.2f} s"
    return visible_token(text or str(trace.tokens.pieces[token]))
