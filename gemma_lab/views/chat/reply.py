"""A reply as script-free HTML and as text: tokens tinted by how unlikely they were, overruled ones marked."""

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
#: Style of a token where a grammar forbade the model's first choice: Okabe–Ito vermillion.
OVERRULED = "text-decoration:underline double #d55e00;text-underline-offset:.2em"
#: Styles of a token that a drafter proposed, and of one where another proposal was rejected: Okabe–Ito green
#: and blue, and lines of another kind.
ACCEPTED = "border-bottom:2px solid #009e73"
REJECTED = "border-bottom:2px dotted #0072b2"
#: Rows of the token table; further ones are counted.
_MAX_ROWS = 200
_TEXT = "white-space:pre-wrap;unicode-bidi:isolate;overflow-wrap:anywhere;line-height:1.6;margin:.25em 0"
_DRAFTED = {True: "drafted and accepted", False: "another draft was rejected here"}
_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}


def reply_html(reply: Reply) -> Markup:
    """Return a reply as HTML: thoughts folded, tokens tinted, calls as written, alternatives in a table.

    A token's tint is stronger the less probable it was in the model's own distribution; hovering shows the
    alternatives. A token is underlined twice where a grammar (``schema=``, ``tool_choice=``) forbade the
    model's own likeliest token. With a drafter, a line under a token says that it was proposed and accepted,
    a dotted line that another proposal was rejected. No script, no timings.

    Parameters
    ----------
    reply
        From `Lab.chat`.
    """
    thinking: Markup | str = ""
    if reply.thinking.strip():
        thought = tag("div", _tinted(reply, "thought"), dir="auto", style=f"{_TEXT};opacity:.85")
        thinking = details("Thinking", thought)
    calls = _tinted(reply, "tool")
    return group(
        f"Reply of {reply.model}",
        thinking,
        tag("div", _tinted(reply, "text"), dir="auto", style=_TEXT),
        tag("div", calls, dir="auto", style=f"{_TEXT};font-family:monospace") if calls else "",
        tag("div", f"{_summary(reply)}. ", _legend(reply), style="font-size:.85em;opacity:.8"),
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
    effect = token.overruled
    if effect is not None and effect.forbidden > 0:
        lines.append(f"{percent(effect.forbidden)} on tokens that the grammar forbids")
    if effect is not None and effect.changed:
        lines.append(f"overruled: the model's first choice is {isolated(effect.first_choice)}")
    if token.drafted is not None:
        lines.append(_DRAFTED[token.drafted])
    lines += [f"{percent(math.exp(other.logprob))}  {isolated(other.text)}" for other in token.top_logprobs]
    return "\n".join(lines)


def _tinted(reply: Reply, kind: str) -> Markup:
    return join(
        tag("span", token.text, style=_style(token), title=hover(token))
        for token in reply.tokens
        if token.kind == kind and token.text
    )


def _style(token: Token) -> str:
    style = f"background-color:{tint(token.probability)}"
    if token.drafted is not None:
        style += f";{ACCEPTED if token.drafted else REJECTED}"
    return f"{style};{OVERRULED}" if token.overruled is not None and token.overruled.changed else style


def _rows(tokens: tuple[Token, ...]) -> Markup:
    bound = any(token.overruled is not None for token in tokens)
    drafted = any(token.drafted is not None for token in tokens)
    rows = [
        (
            number,
            bdi(visible_token(token.text)),
            token.kind,
            percent(token.probability),
            f"{token.entropy:.2f}",
            _alternatives(token.top_logprobs),
            *(_effect(token) if bound else ()),
            *(("" if token.drafted is None else _DRAFTED[token.drafted],) if drafted else ()),
        )
        for number, token in enumerate(tokens[:_MAX_ROWS], start=1)
    ]
    left = len(tokens) - _MAX_ROWS
    notes = ["Probability and entropy are the model's own, before temperature, top-k and top-p."]
    notes += [f"{left:,} more tokens are not shown."] if left > 0 else []
    columns = ["#", "token", "kind", "probability", "entropy in nats", "most likely"]
    columns += ["forbidden", "overruled first choice"] if bound else []
    columns += ["draft"] if drafted else []
    align = "rllrrl" + "rl" * bound + "l" * drafted
    return table(rows, columns=columns, align=align, caption="Tokens of the reply", notes=notes)


def _effect(token: Token) -> tuple[object, object]:
    """Return the table cells that describe the effect of a grammar."""
    if token.overruled is None:
        return "", ""
    first = bdi(visible_token(token.overruled.first_choice)) if token.overruled.changed else ""
    return percent(token.overruled.forbidden), first


def _alternatives(top_logprobs: tuple[Alternative, ...]) -> Markup:
    parts = [
        join([bdi(visible_token(other.text)), f" {percent(math.exp(other.logprob))}"])
        for other in top_logprobs
    ]
    return join(parts, " · ")


def _summary(reply: Reply) -> str:
    tokens = counted(len(reply.tokens), "token")
    effects = [token.overruled for token in reply.tokens if token.overruled is not None]
    changed = f", {sum(each.changed for each in effects)} overruled by the grammar" if effects else ""
    found = reply.acceptance
    if found is not None:
        changed += f", {found.accepted} of {found.examined} examined drafts accepted"
    return f"{reply.model}: {tokens}{changed}, {_FINISH[reply.finish_reason]}, {reply.sampling}"


def _legend(reply: Reply) -> Markup:
    swatches = [
        tag("span", percent(level), style=f"background-color:{tint(level)};padding:0 .4em")
        for level in (1.0, 0.5, 0.01)
    ]
    parts: list[object] = ["Tint: probability of each token, ", *swatches]
    if any(token.overruled is not None and token.overruled.changed for token in reply.tokens):
        mark = tag("span", "underlined", style=OVERRULED)
        parts += ["; ", mark, ": the grammar forbade the model's first choice"]
    if reply.acceptance is not None:
        accepted, rejected = (tag("span", "line", style=style) for style in (ACCEPTED, REJECTED))
        parts += ["; ", accepted, ": drafted and accepted; ", rejected, ": another draft was rejected here"]
    return join(parts)
