"""The answer of a server as script-free HTML: text, thoughts, calls, and what the server told of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..base.html import TEXT, Markup, details, group, table, tag
from ..base.text import counted, percent, visible, visible_token

if TYPE_CHECKING:
    from ...models.remote.reply import ServerReply

_FINISH = {"stop": "complete", "length": "cut at the limit", "stopped": "stopped"}
#: Rows of the token table; further ones are counted.
_MAX_ROWS = 200
_CODE = f"{TEXT};font-family:monospace"


def server_reply_html(reply: ServerReply) -> Markup:
    """Return the answer of a server as HTML: thoughts folded, calls as JSON, tokens in a table if it has any.

    Parameters
    ----------
    reply
        From `RemoteLab.chat`.
    """
    thought = tag("div", visible(reply.thinking), dir="auto", style=f"{TEXT};opacity:.85")
    calls = [tag("div", visible(_call(call)), dir="auto", style=_CODE) for call in reply.calls]
    return group(
        f"Reply of {reply.model}",
        details("Thinking", thought) if reply.thinking.strip() else "",
        tag("div", visible(reply.text), dir="auto", style=TEXT),
        *calls,
        tag("div", f"{_summary(reply)}.", style="font-size:.85em;opacity:.8"),
        details("Tokens", _rows(reply)) if reply.scored else "",
        style="margin:.5em 0",
    )


def _summary(reply: ServerReply) -> str:
    counts = "numbers of tokens not told" if reply.new_tokens is None else counted(reply.new_tokens, "token")
    return f"{counts}, {_FINISH[reply.finish_reason]}, through a server"


def _call(call: object) -> str:
    name, arguments = getattr(call, "name", ""), getattr(call, "arguments", {})
    if problem := getattr(call, "problem", ""):
        return f"unreadable call: {problem}"
    return f"{name}({json.dumps(arguments, ensure_ascii=False)})"


def _rows(reply: ServerReply) -> Markup:
    rows = [
        (number, visible_token(token.text), percent(token.probability))
        for number, token in enumerate(reply.tokens[:_MAX_ROWS])
    ]
    more = len(reply.tokens) - len(rows)
    caption = f"{more:,} more tokens" if more > 0 else ""
    return table(rows, columns=("", "token", "probability"), align="rlr", caption=caption)
