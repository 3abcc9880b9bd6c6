"""A reply as script-free HTML and as text: every token tinted by how unlikely it was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..base.figure import OKABE_ITO, Plot, new_figure
from ..base.fonts import families, writable
from ..base.html import Markup, bdi, details, group, join, table, tag
from ..base.text import counted, isolated, percent, visible_token

if TYPE_CHECKING:
    from ...models.chat.reply import Alternative, Reply, Token

#: Okabe–Ito orange; one hue of varying strength is legible with any colour vision, on light and dark pages.
_TINT = "230,159,0"
_MAX_OPACITY = 0.6
#: Rows of the token table; further ones are counted.
_MAX_ROWS = 200
_TEXT = "white-space:pre-wrap;unicode-bidi:isolate;overflow-wrap:anywhere;line-height:1.6;margin:.25em 0"
_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}


def reply_html(reply: Reply) -> Markup:
    """Return a reply as HTML: thoughts folded, tokens tinted, their alternatives in a table.

    A token's tint is stronger the less probable it was in the model's own distribution; hovering shows the
    alternatives. No script, no timings.

    Parameters
    ----------
    reply
        From `Lab.chat`.
    """
    thinking: Markup | str = ""
    if reply.thinking.strip():
        thought = tag("div", _tinted(reply, "thought"), dir="auto", style=f"{_TEXT};opacity:.85")
        thinking = details("Thinking", thought)
    return group(
        f"Reply of {reply.model}",
        thinking,
        tag("div", _tinted(reply, "text"), dir="auto", style=_TEXT),
        tag("div", f"{_summary(reply)}. ", _legend(), style="font-size:.85em;opacity:.8"),
        details("Tokens", _rows(reply.tokens)),
        style="margin:.5em 0",
    )


def reply_text(reply: Reply) -> str:
    """Return a reply as stable text: thoughts, answer, and one summary line."""
    thinking = f"[thinking] {reply.thinking.strip()}\n" if reply.thinking.strip() else ""
    return f"{thinking}{reply.text}\n[{_summary(reply)}]"


def reply_figure(reply: Reply, *, start: int = 0, limit: int = 60) -> Plot:
    """Draw the probability of each token of a reply, and the entropy of its distribution.

    Parameters
    ----------
    reply
        From `Lab.chat`.
    start, limit
        First token, and number of tokens.
    """
    tokens = reply.tokens[start : start + limit]
    rows = range(start, start + len(tokens))
    names = [visible_token(token.text) for token in tokens]
    with new_figure(max(4.0, 1.2 + 0.18 * len(tokens)), 3.2, nrows=2, sharex=True) as (figure, (top, bottom)):
        top.bar(rows, [token.probability for token in tokens], color=OKABE_ITO["blue"])
        top.set(ylim=(0, 1), ylabel="probability", title=f"Tokens of the reply of {reply.model}")
        bottom.bar(rows, [token.entropy for token in tokens], color=OKABE_ITO["orange"])
        bottom.set_ylabel("entropy, nats")
        labels = [name if writable(name) else f"token {row}" for row, name in zip(rows, names, strict=True)]
        bottom.set_xticks(
            rows, labels, rotation=90, fontsize=8, fontfamily=list(families()), parse_math=False
        )
    return Plot(figure, text=f"{_summary(reply)}; tokens {start} to {start + len(tokens) - 1} drawn")


def tint(probability: float) -> str:
    """Return the CSS background of a token: transparent if it was certain, orange if it was unlikely."""
    return f"rgba({_TINT},{_MAX_OPACITY * (1 - min(max(probability, 0.0), 1.0)):.2f})"


def hover(token: Token) -> str:
    """Return the hover text of a token: its probability, and the most likely alternatives."""
    lines = [f"{percent(token.probability)} · entropy {token.entropy:.2f} nats"]
    lines += [f"{percent(math.exp(other.logprob))}  {isolated(other.text)}" for other in token.top_logprobs]
    return "\n".join(lines)


def _tinted(reply: Reply, kind: str) -> Markup:
    return join(
        tag("span", token.text, style=f"background-color:{tint(token.probability)}", title=hover(token))
        for token in reply.tokens
        if token.kind == kind and token.text
    )


def _rows(tokens: tuple[Token, ...]) -> Markup:
    rows = [
        (
            number,
            bdi(visible_token(token.text)),
            token.kind,
            percent(token.probability),
            f"{token.entropy:.2f}",
            _alternatives(token.top_logprobs),
        )
        for number, token in enumerate(tokens[:_MAX_ROWS], start=1)
    ]
    left = len(tokens) - _MAX_ROWS
    notes = ["Probability and entropy are the model's own, before temperature, top-k and top-p."]
    notes += [f"{left:,} more tokens are not shown."] if left > 0 else []
    columns = ("#", "token", "kind", "probability", "entropy in nats", "most likely")
    return table(rows, columns=columns, align="rllrrl", caption="Tokens of the reply", notes=notes)


def _alternatives(top_logprobs: tuple[Alternative, ...]) -> Markup:
    parts = [
        join([bdi(visible_token(other.text)), f" {percent(math.exp(other.logprob))}"])
        for other in top_logprobs
    ]
    return join(parts, " · ")


def _summary(reply: Reply) -> str:
    tokens = counted(len(reply.tokens), "token")
    return f"{reply.model}: {tokens}, {_FINISH[reply.finish_reason]}, {reply.sampling}"


def _legend() -> Markup:
    swatches = [
        tag("span", percent(level), style=f"background-color:{tint(level)};padding:0 .4em")
        for level in (1.0, 0.5, 0.01)
    ]
    return join(["Tint: probability of each token, ", *swatches])
