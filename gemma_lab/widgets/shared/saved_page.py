"""One self-contained HTML file of a widget: its program, its state and its static fallback.

The page's Content-Security-Policy allows its own script, by hash, and inline style; it allows no connection,
no evaluation and no other source. So the page loads nothing, from disk or from a server. There is no kernel
behind it: what a view would ask of Python is read from the page, and buttons that need a model are hidden.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import write_file
from .bundle import bundle

if TYPE_CHECKING:
    from collections.abc import Mapping

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
body {{ margin: 0; padding: 24px clamp(8px, 3vw, 40px); font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #0d0f12; color: #e8eaee; }} }}
{style}
</style>
</head>
<body>
<main id="gemma-lab-widget">{fallback}</main>
<script type="application/json" id="gemma-lab-state">{state}</script>
{parts}
<script type="module">{script}</script>
</body>
</html>
"""


def page(
    state: Mapping[str, Any],
    answers: Mapping[str, bytes],
    *,
    title: str,
    fallback: str,
    program: str,
    style: str,
) -> str:
    """Return a widget as one HTML document.

    Parameters
    ----------
    state
        The traits that the front end reads: JSON values, and bytes anywhere among them.
    answers
        What Python would answer, by the name that the program gives to a message; read when it is asked.
    title
        Of the document.
    fallback
        The widget's static fallback, shown where scripts do not run.
    program
        ES module of ``widgets/js`` that draws the element ``gemma-lab-widget``.
    style
        CSS.
    """
    parts: list[bytes] = []

    def put(value: Any) -> Any:
        """Replace bytes by the number of the deflated part that holds them."""
        if isinstance(value, bytes | memoryview):
            parts.append(zlib.compress(value, 9))
            return {"part": len(parts) - 1}
        if isinstance(value, dict):
            return {key: put(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [put(each) for each in value]
        return value

    content = {
        "state": put(dict(state)),
        "answers": {name: put(data)["part"] for name, data in answers.items()},
    }
    script = "\n" + bundle(program)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return _PAGE.format(
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        title=escape(title),
        fallback=fallback,
        state=json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        parts="\n".join(
            f'<script type="application/octet-stream" id="gemma-lab-part-{number}">'
            f"{base64.b64encode(part).decode('ascii')}</script>"
            for number, part in enumerate(parts)
        ),
        script=script,
        style=style,
    )


def write_page(
    path: str | Path, state: Mapping[str, Any], answers: Mapping[str, bytes], **content: str
) -> Path:
    """Write `page` to `path` and return the path; `content` is title, fallback, program and style.

    Raises
    ------
    LabError
        If it cannot be written.
    """
    return write_file(path, page(state, answers, **content).encode(), example='explorer.save("trace.html")')
