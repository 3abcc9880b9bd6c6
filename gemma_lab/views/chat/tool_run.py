"""A conversation with tool calls as script-free HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, group, table, tag
from ..base.text import shorten, visible

if TYPE_CHECKING:
    from ...models.tool_use.runner import ToolRun

_MAX_LENGTH = 300  # characters of a result


def tool_run_html(run: ToolRun) -> Markup:
    """Return the executed calls of a tool run as a table, and its last reply.

    Parameters
    ----------
    run
        Rounds of replies and executed calls.
    """
    rows = [
        (
            number,
            bdi(visible(execution.call.name or "unreadable call")),
            bdi(visible(", ".join(f"{name}={value!r}" for name, value in execution.arguments.items()))),
            execution.status,
            bdi(visible(shorten(str(execution.result), _MAX_LENGTH))),
        )
        for number, one in enumerate(run.rounds, 1)
        for execution in one.executions
    ]
    columns = ("round", "tool", "arguments", "status", "result")
    return group(
        visible(repr(run)),
        table(rows, columns=columns, align="rllll", caption=f"Tool calls; ended: {run.ended}"),
        tag("div", visible(run.text), dir="auto", style="white-space:pre-wrap;unicode-bidi:plaintext"),
    )
