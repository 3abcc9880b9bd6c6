"""HTML building blocks of every view, escaped by construction.

All markup is made by `tag` and the functions built on it, which escape everything but `Markup`.
The HTML has no scripts and is legible on light and dark pages: nothing sets a background or text colour of
its own, and borders are translucent. Text from a person or a model goes into ``<bdi>``, so that its writing
direction cannot rearrange its surroundings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import markupsafe

from .text import shorten

__all__ = [
    "CHIP",
    "TEXT",
    "Markup",
    "bdi",
    "definitions",
    "details",
    "escape",
    "figure",
    "footnotes",
    "group",
]
__all__ += ["heading", "join", "link", "table", "tag"]

#: Style of text that is cut into tokens: it wraps, and every line follows its own first strong character.
TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.7;margin:.25em 0"
#: Style of a control token or a run of soft tokens among text.
CHIP = (
    "font:11px monospace;opacity:.65;border:1px solid rgba(127,127,127,.4);border-radius:4px;padding:0 .2em"
)
_ROW = "border-bottom:1px solid rgba(127,127,127,.35);vertical-align:top"
_TABLE = "border-collapse:collapse;margin:.5em 0;font-variant-numeric:tabular-nums"
_PIXELS = "background:#fff;padding:6px;border-radius:6px;max-width:100%;height:auto;image-rendering:pixelated"
_CAPTION = "font-size:.85em;opacity:.8"
_SIDES = {"l": "left", "r": "right", "c": "center"}
_VOID = ("img",)


class Markup(markupsafe.Markup):
    """HTML that a notebook shows as such; combined with other text, that text is escaped."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"Markup({shorten(' '.join(self.striptags().split()), 120)!r})"


def escape(value: object) -> Markup:
    """Return a value as markup, escaped unless it is `Markup`."""
    return Markup(markupsafe.escape(value))


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Build an element; children and attribute values are escaped unless they are `Markup`.

    Parameters
    ----------
    name
        Of the element.
    *children
        Its content.
    **attributes
        An underscore in a name becomes a hyphen (``aria_label``), a trailing one is dropped (``open_``).
        Attributes that are None or False are left out.
    """
    listed = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    opening = Markup("<{}{}>").format(name, listed)
    if name in _VOID:
        return opening
    return Markup("{}{}</{}>").format(opening, join(children), name)


def join(parts: Iterable[object], separator: object = "") -> Markup:
    """Join parts, escaping those that are not `Markup`."""
    return escape(separator).join(escape(part) for part in parts)


def bdi(text: object, *, title: str = "") -> Markup:
    """Isolate text of unknown writing direction from its surroundings (``<bdi dir="auto">``)."""
    return tag("bdi", text, dir="auto", title=title or None)


def link(address: str, text: object) -> Markup:
    """Build a link for ``https:`` addresses; anything else (``javascript:``) becomes plain text."""
    if not address.startswith("https://"):
        return escape(text)
    return tag("a", text, href=address, rel="noopener")


def group(label: str, *children: object, style: str = "max-width:64em") -> Markup:
    """Build the outermost element of a view, named for screen readers."""
    return tag("div", *children, role="group", aria_label=label, style=style)


def heading(*children: object) -> Markup:
    """Build the title line of a view."""
    return tag("div", *children, style="font-weight:600;padding:.25em 0")


def details(summary: str, *children: object, open_: bool = False) -> Markup:
    """Build a section that can be unfolded."""
    return tag("details", tag("summary", summary), *children, open_="" if open_ else None)


def figure(address: str, caption: str, *, width: int | None = None) -> Markup:
    """Build an image with a caption, which is its alternative text, too.

    Parameters
    ----------
    address
        Data URL of the image.
    caption
        What it shows.
    width
        Maximum width in pixels of a photograph among others. None: a heat map, alone and with
        sharp pixels.
    """
    if width is None:
        style, image, text = "margin:.6em 0", _PIXELS, _CAPTION
    else:
        style, image = "display:inline-block;margin:.5em 1em .5em 0", f"max-width:{width}px;border-radius:6px"
        text = f"{_CAPTION};max-width:{width}px"
    return tag(
        "figure",
        tag("img", src=address, alt=caption, style=image),
        tag("figcaption", caption, style=text),
        style=style,
    )


def table(
    rows: Iterable[Sequence[object]],
    *,
    columns: Sequence[object],
    caption: object = "",
    align: str = "",
    notes: Sequence[object] = (),
) -> Markup:
    """Build an accessible table: a caption, column headers, and the first cell of a row as its header.

    Parameters
    ----------
    rows
        One sequence of cells per row, each as long as `columns`.
    columns
        Column headers.
    caption
        What the table shows, with the unit where all cells share one.
    align
        One of ``l``, ``r`` and ``c`` per column, e.g. ``"lrr"``. Default: all left.
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
    head = [_cell("th", "col", side, text) for side, text in zip(sides, columns, strict=True)]
    body = []
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            msg = f"row {number} has {len(row)} cells; the table has {len(columns)} columns"
            raise ValueError(msg)
        cells = [_cell("th", "row", sides[0], row[0])]
        cells += [_cell("td", None, side, text) for side, text in zip(sides[1:], row[1:], strict=True)]
        body.append(tag("tr", *cells, style=_ROW))
    title = (
        tag("caption", caption, style="text-align:left;padding:.25em 0;font-weight:600") if caption else ""
    )
    content = tag(
        "table",
        title,
        tag("thead", tag("tr", *head, style=_ROW)),
        tag("tbody", *body),
        style=_TABLE,
    )
    return tag("div", content, style="overflow-x:auto") + footnotes(notes)


def definitions(pairs: Iterable[tuple[object, object]], *, caption: object = "") -> Markup:
    """Build a list of terms and their values (``<dl>``), for the properties of one object."""
    items = [  # JupyterLab's style makes a term as wide as a fifth of its place
        tag("dt", term, style="font-weight:600;width:auto")
        + tag("dd", value, style="margin:0 0 .25em 0;width:auto")
        for term, value in pairs
    ]
    columns = "display:grid;grid-template-columns:max-content 1fr;gap:0 1em;margin:.25em 0"
    return tag("div", heading(caption) if caption else "", tag("dl", *items, style=columns))


def footnotes(notes: Sequence[object]) -> Markup:
    """Build small lines for sources and footnotes, or nothing if there are none."""
    return tag("div", *(tag("div", note) for note in notes), style=_CAPTION) if notes else Markup("")


def _cell(name: str, scope: str | None, side: str, text: object) -> Markup:
    weight = ";font-weight:500" if scope == "row" else ""
    return tag(name, text, scope=scope, style=f"padding:.25em .75em;text-align:{_SIDES[side]}{weight}")
