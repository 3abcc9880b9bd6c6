"""The few HTML primitives that every view is made of.

Script-free, and legible on a light and on a dark page: nothing sets a background or a text colour of its own,
borders are translucent, and whatever is not `Markup` is escaped. Text that came from a person or a model is
wrapped in ``<bdi>``, so that its writing direction cannot rearrange what stands beside it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

_ROW = "border-bottom:1px solid rgba(127,127,127,.35);vertical-align:top"
_TABLE = "border-collapse:collapse;margin:.5em 0;font-variant-numeric:tabular-nums"
_SIDES = {"l": "left", "r": "right", "c": "center"}


class Markup(str):
    """A string that is already HTML. Everything else is escaped on its way into a view."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Return `value` as HTML text, with ``& < > " '`` escaped; `Markup` passes unchanged."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value), quote=True))


def bdi(text: object, *, title: str = "") -> Markup:
    """Return text of unknown writing direction, isolated from its surroundings (``<bdi dir="auto">``)."""
    hover = f' title="{escape(title)}"' if title else ""
    return Markup(f'<bdi dir="auto"{hover}>{escape(text)}</bdi>')


def link(address: str, text: object) -> Markup:
    """Return a link for ``https:`` addresses, plain text for anything else (no ``javascript:``)."""
    if not address.startswith("https://"):
        return escape(text)
    return Markup(f'<a href="{escape(address)}" rel="noopener">{escape(text)}</a>')


def table(
    rows: Iterable[Sequence[object]],
    *,
    columns: Sequence[object],
    caption: object = "",
    align: str = "",
    notes: Sequence[object] = (),
) -> Markup:
    """Return an accessible table: a caption, column headers, and the first cell of a row as its header.

    Parameters
    ----------
    rows
        One sequence of cells a row, each as long as `columns`. Cells are escaped unless they are `Markup`.
    columns
        The column headers.
    caption
        What the table shows, with the unit where all cells share one.
    align
        One of ``l``, ``r`` and ``c`` a column, e.g. ``"lrr"``. Default: all left.
    notes
        Lines below the table: sources and footnotes.

    Raises
    ------
    ValueError
        If a row or `align` is not as long as `columns`.
    """
    sides = align or "l" * len(columns)
    if len(sides) != len(columns):
        msg = f"align={align!r} is for {len(sides)} columns; the table has {len(columns)}"
        raise ValueError(msg)
    head = "".join(_cell("th", "col", side, text) for side, text in zip(sides, columns, strict=True))
    body = []
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            msg = f"row {number} has {len(row)} cells; the table has {len(columns)} columns"
            raise ValueError(msg)
        cells = [_cell("th", "row", sides[0], row[0])]
        cells += [_cell("td", "", side, text) for side, text in zip(sides[1:], row[1:], strict=True)]
        body.append(f'<tr style="{_ROW}">{"".join(cells)}</tr>')
    title = f'<caption style="text-align:left;padding:.25em 0;font-weight:600">{escape(caption)}</caption>'
    return Markup(
        '<div style="overflow-x:auto">'
        f'<table style="{_TABLE}">{title if caption else ""}'
        f'<thead><tr style="{_ROW}">{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        f"{footnotes(notes)}"
    )


def definitions(pairs: Iterable[tuple[object, object]], *, caption: object = "") -> Markup:
    """Return a list of terms and their values (``<dl>``), for one object's properties."""
    items = "".join(
        f'<dt style="font-weight:600">{escape(term)}</dt><dd style="margin:0 0 .25em 0">{escape(value)}</dd>'
        for term, value in pairs
    )
    title = f'<div style="font-weight:600;padding:.25em 0">{escape(caption)}</div>' if caption else ""
    columns = "display:grid;grid-template-columns:max-content 1fr;gap:0 1em;margin:.25em 0"
    return Markup(f'<div>{title}<dl style="{columns}">{items}</dl></div>')


def footnotes(notes: Sequence[object]) -> Markup:
    """Return small lines for sources and footnotes, or nothing if there are none."""
    lines = "".join(f"<div>{escape(note)}</div>" for note in notes)
    return Markup(f'<div style="font-size:.85em;opacity:.8">{lines}</div>' if lines else "")


def _cell(tag: str, scope: str, side: str, text: object) -> str:
    weight = "" if tag == "td" or scope == "col" else ";font-weight:500"
    reach = f' scope="{scope}"' if scope else ""
    return (
        f'<{tag}{reach} style="padding:.25em .75em;text-align:{_SIDES[side]}{weight}">{escape(text)}</{tag}>'
    )
