"""A conversation with tool calls as script-free HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...display import renderer
from ..base.html import TEXT, Markup, bdi, details, group, heading, table, tag
from ..base.text import counted, shorten, visible

if TYPE_CHECKING:
    from ...models.tool_use.runner import Execution, Round, ToolRun

#: Characters of arguments and of a result.
_MAX_LENGTH = 2000
_CODE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:0;text-align:left;font-family:monospace"


def tool_run_html(run: ToolRun) -> Markup:
    """Return a tool run: every round folded, with its calls, arguments and results, then the last reply.

    Parameters
    ----------
    run
        Rounds of replies and executed calls.
    """
    rounds = [_round(number, one) for number, one in enumerate(run.rounds, 1) if one.executions]
    return group(
        f"Tool run of {run.reply.model}",
        heading(visible(repr(run))),
        *rounds,
        renderer(type(run.reply), "html")(run.reply),  # of a lab, or of a server
        style="max-width:64em;margin:.5em 0",
    )


def _round(number: int, one: Round) -> Markup:
    statuses = ", ".join(f"{each.call.name or 'unreadable call'}: {each.status}" for each in one.executions)
    rows = [_row(each) for each in one.executions]
    text = one.reply.text.strip()
    return details(
        shorten(f"Round {number}, {counted(len(rows), 'call')} ({visible(statuses)})", 200),
        tag("div", visible(text), dir="auto", style=TEXT) if text else "",
        table(rows, columns=("tool", "status", "arguments", "result"), align="llll"),
    )


def _row(execution: Execution) -> tuple[object, ...]:
    call = execution.call
    name = bdi(visible(call.name or "unreadable call"))
    if call.problem:
        return name, execution.status, _code(call.text), _code(_json(execution.result))
    return name, execution.status, _code(_json(execution.arguments)), _code(_json(execution.result))


def _json(value: Any) -> str:
    """Return JSON; what a hand-made run holds beyond it is written as its text."""
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


def _code(text: str) -> Markup:
    return tag("pre", visible(shorten(text, _MAX_LENGTH)), dir="auto", style=_CODE)
