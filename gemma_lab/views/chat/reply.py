"""A reply as script-free HTML and as text: every token tinted by how sure the model was of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, escape, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...models.chat.reply import Alternative, Reply, Token

#: Okabe–Ito orange. One hue whose strength varies can be read with any colour vision, on light and on dark.
_TINT = "230,159,0"
_STRONGEST = 0.6
#: Rows of the token table; a longer reply says how many are left out.
_MOST_ROWS = 200
_TEXT = "white-space:pre-wrap;unicode-bidi:isolate;overflow-wrap:anywhere;line-height:1.6;margin:.25em 0"
_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}


def reply_html(reply: Reply) -> Markup:
    """Return a reply as HTML: thoughts folded, the answer's tokens tinted, their alternatives in a table.

    Tokens are tinted the more strongly the less probable they were in the model's own distribution; hovering
    shows the alternatives. No script, no timings.

    Parameters
    ----------
    reply
        What `Lab.chat` returned.

    Returns
    -------
    Markup
    """
    thought = _spoken(reply.tokens, "thought")
    thinking = (
        f'<details><summary>Thinking</summary><div dir="auto" style="{_TEXT};opacity:.85">{thought}</div>'
        "</details>"
        if reply.thinking.strip()
        else ""
    )
    return Markup(
        f'<div role="group" aria-label="Reply of {escape(reply.model)}" style="margin:.5em 0">{thinking}'
        f'<div dir="auto" style="{_TEXT}">{_spoken(reply.tokens, "text")}</div>'
        f'<div style="font-size:.85em;opacity:.8">{escape(_summary(reply))}. '
        f"{_legend()}</div>"
        f"<details><summary>Tokens</summary>{_rows(reply.tokens)}</details></div>"
    )


def reply_text(reply: Reply) -> str:
    """Return a reply as stable text: thoughts, answer, and one line that sums it up."""
    thinking = f"[thinking] {reply.thinking.strip()}\n" if reply.thinking.strip() else ""
    return f"{thinking}{reply.text}\n[{_summary(reply)}]"


def tint(probability: float) -> str:
    """Return the CSS background of a token: nothing where the model was sure, orange where it was not."""
    return f"rgba({_TINT},{_STRONGEST * (1 - min(max(probability, 0.0), 1.0)):.2f})"


def hover(token: Token) -> str:
    """Return what hovering over a token says: its probability, and what else the model weighed."""
    lines = [f"{percent(token.probability)} · entropy {token.entropy:.2f} nats"]
    lines += [f"{percent(math.exp(other.logprob))}  {_isolated(other.text)}" for other in token.top_logprobs]
    return "\n".join(lines)


def percent(probability: float) -> str:
    """Return a probability as text: ``62 %``, ``0.4 %``, ``< 0.1 %``."""
    share = 100 * probability
    if share < 0.1:
        return "< 0.1 %"
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


def visible(text: str) -> str:
    """Return a token's text with what cannot be seen made visible: spaces, line ends, control characters."""
    named = {" ": "␣", "\n": "↵", "\t": "⇥"}
    shown = "".join(named.get(c, c if c.isprintable() else f"U+{ord(c):04X}") for c in text)
    return shown or "∅"


def _spoken(tokens: Iterable[Token], kind: str) -> str:
    return "".join(
        f'<span style="background-color:{tint(token.probability)}" title="{escape(hover(token))}">'
        f"{escape(token.text)}</span>"
        for token in tokens
        if token.kind == kind and token.text
    )


def _rows(tokens: tuple[Token, ...]) -> Markup:
    rows = [
        (
            number,
            bdi(visible(token.text)),
            token.kind,
            percent(token.probability),
            f"{token.entropy:.2f}",
            _others(token.top_logprobs),
        )
        for number, token in enumerate(tokens[:_MOST_ROWS], start=1)
    ]
    left = len(tokens) - _MOST_ROWS
    notes = ["Probability and entropy are the model's own, before temperature, top-k and top-p."]
    notes += [f"{left:,} more tokens are not shown."] if left > 0 else []
    columns = ("#", "token", "kind", "probability", "entropy in nats", "likeliest here")
    return table(rows, columns=columns, align="rllrrl", caption="Tokens of the reply", notes=notes)


def _others(top_logprobs: tuple[Alternative, ...]) -> Markup:
    return Markup(
        " · ".join(f"{bdi(visible(a.text))} {escape(percent(math.exp(a.logprob)))}" for a in top_logprobs)
    )


def _summary(reply: Reply) -> str:
    count = len(reply.tokens)
    return f"{reply.model}: {count} token{'' if count == 1 else 's'}, {_FINISH[reply.finish_reason]}, {reply.sampling}"


def _legend() -> str:
    swatches = "".join(
        f'<span style="background-color:{tint(level)};padding:0 .4em">{percent(level)}</span>'
        for level in (1.0, 0.5, 0.01)
    )
    return f"Tint: how probable each token was, {swatches}"


def _isolated(text: str) -> str:
    # in an attribute there is no <bdi>: first strong isolate … pop directional isolate
    return f"\u2068{visible(text)}\u2069"
