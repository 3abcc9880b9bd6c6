"""One self-contained HTML file of a widget: its program, its state and its static twin, nothing else.

The page forbids itself to load, send or evaluate anything: its Content-Security-Policy allows its own script
by hash, and nothing from elsewhere. So it opens from disk, from an attachment or behind a strict server.
There is no kernel behind it: what the widget would ask of Python stays unasked, its buttons are not shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import LabError
from .base import module

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
<main id="gemma-lab-widget">{twin}</main>
<script type="application/json" id="gemma-lab-state">{state}</script>
{parts}
<script type="module">{script}</script>
</body>
</html>
"""


def page(
    state: Mapping[str, Any],
    *,
    title: str,
    twin: str,
    program: str,
    style: str,
    parts: Sequence[bytes] = (),
) -> str:
    """Return a widget as one HTML document.

    Parameters
    ----------
    state
        The traits that the front end reads: JSON values, and bytes anywhere among them.
    title
        Of the document.
    twin
        The widget's static form, shown where scripts do not run.
    program
        ES module of ``static/`` that draws the element ``gemma-lab-widget`` from the state.
    style
        CSS.
    parts
        Large pieces of data that the program reads one by one when it needs them, from the elements
        ``gemma-lab-part-0``, ``gemma-lab-part-1``, ….
    """
    script = "\n" + module(program)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(_portable(state), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    pieces = "\n".join(
        f'<script type="application/octet-stream" id="gemma-lab-part-{number}">{_base64(part)}</script>'
        for number, part in enumerate(parts)
    )
    return _PAGE.format(
        policy=escape(policy),
        title=escape(title),
        twin=twin,
        state=data,
        parts=pieces,
        script=script,
        style=style,
    )


def write_page(path: str | Path, state: Mapping[str, Any], **content: Any) -> Path:
    """Write `page` of a state to `path` and return the path; `content` is what `page` takes.

    Raises
    ------
    LabError
        If the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise LabError(
            f"The folder {target.parent} does not exist.", hint="Create it, or write somewhere else."
        )
    target.write_text(page(state, **content), encoding="utf-8")
    return target


def _portable(value: Any) -> Any:
    """Return `value` with bytes as ``{"base64": …}``, which the page turns back."""
    if isinstance(value, bytes | memoryview):
        return {"base64": _base64(value)}
    if isinstance(value, dict):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(each) for each in value]
    return value


def _base64(data: bytes | memoryview) -> str:
    return base64.b64encode(data).decode("ascii")
