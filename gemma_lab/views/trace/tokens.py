"""A token table as text: a shade per token, a frame per control token and medium, the role in words."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, details, footnotes, group, join, table, tag
from ..base.text import visible_token
from ..base.tokens import MEDIA

if TYPE_CHECKING:
    from ...models.tokens.table import Run, TokenTable

#: Tokens drawn, and rows of the detailed table; further ones are counted.
_MAX_TOKENS, _MAX_ROWS, _MAX_PIECES = 3_000, 200, 8
#: Okabe–Ito sky blue, weak enough for text on light and dark pages.
_SHADES = ("rgba(86,180,233,.16)", "rgba(86,180,233,.38)")
_FRAME = (
    "border-radius:.3em;padding:0 .35em;margin:0 .1em;font:.85em/1.5 ui-monospace,monospace;"
    "white-space:nowrap"
)
_FRAMES = {
    "special": f"{_FRAME};border:1px dashed rgba(127,127,127,.7);opacity:.75",
    "image": f"{_FRAME};border:2px solid #009E73",
    "video": f"{_FRAME};border:2px double #CC79A7",
    "audio": f"{_FRAME};border:2px dotted #E69F00",
}
_SYMBOLS = {"image": "▦", "video": "▶", "audio": "♪"}
_GENERATED = "border-bottom:2px solid #0072B2"
_TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.9"


def tokens_html(tokens: TokenTable) -> Markup:
    """Return a token table as HTML: the text cut into its tokens, and every token in an unfolding table.

    Parameters
    ----------
    tokens
        From `gemma_lab.models.tokens.table.TokenTable.of`, or ``trace.tokens``.
    """
    summary = repr(tokens).removeprefix("TokenTable(").removesuffix(")")
    return group(
        summary,
        tag("div", summary, style="font-weight:600"),
        text_html(tokens),
        details("Tokens one by one", _rows(tokens)),
        style="margin:.5em 0",
    )


def text_html(tokens: TokenTable, *, limit: int = _MAX_TOKENS) -> Markup:
    """Return the text cut into its tokens, a block per turn, with a legend.

    Parameters
    ----------
    tokens
        The tokens.
    limit
        Tokens to draw at most. A run of soft tokens is drawn completely or not at all.
    """
    stop = min(limit, len(tokens))
    while 0 < stop < len(tokens) and tokens.modalities[stop] in MEDIA:
        if tokens.modalities[stop] != tokens.modalities[stop - 1]:
            break
        stop += 1
    shown, left = tokens.select(slice(0, stop)), len(tokens) - stop
    blocks = join(_block(shown, role, runs) for role, runs in _turns(shown.runs()))
    notes: list[object] = [_legend()]
    notes += [f"{left:,} more tokens are not shown."] if left else []
    return blocks + footnotes(notes)


def _turns(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Group runs by role; the line end after a turn belongs to the turn."""
    turns: list[tuple[str, list[Run]]] = []
    for role, grouped in groupby(runs, lambda run: run.role):
        part = list(grouped)
        if not role and turns and all(run.modality == "special" for run in part):
            turns[-1][1].extend(part)
        else:
            turns.append((role, part))
    return turns


def _block(tokens: TokenTable, role: str, runs: list[Run]) -> Markup:
    drawn = []
    for framed, grouped in groupby(enumerate(runs), lambda item: item[1].modality in _FRAMES):
        part = join(_run(tokens, number, run) for number, run in grouped)
        # the words of the chat format run left to right in any surroundings
        drawn.append(tag("span", part, dir="ltr") if framed else part)
    name = role.replace("_", " ") or "outside a turn"
    return tag(
        "div",
        tag("div", name, style="flex:0 0 6.5em;font-size:.85em;opacity:.8"),
        tag("div", *drawn, dir="auto", style=f"flex:1;{_TEXT}"),
        style="display:flex;gap:.75em;margin:.25em 0",
    )


def _run(tokens: TokenTable, number: int, run: Run) -> Markup:
    title = _title(tokens, run)
    if run.modality in _FRAMES:
        symbol = (
            tag("span", f"{_SYMBOLS[run.modality]} ", aria_hidden="true") if run.modality in MEDIA else ""
        )
        label = visible_token(run.label) if run.label.isspace() else run.label
        return tag("bdi", symbol, label, style=_FRAMES[run.modality], title=title)
    underline = f";{_GENERATED}" if tokens.generated[run.stop - 1] else ""
    line_end = (
        tag("span", "↵", aria_hidden="true", style="opacity:.5") + "\n"
    )  # drawn, and still ends the line
    text = join(run.label.split("\n"), line_end)
    return tag("span", text, style=f"background-color:{_SHADES[number % 2]}{underline}", title=title)


def _title(tokens: TokenTable, run: Run) -> str:
    """Return the hover text of a run, each text isolated from the direction of the others."""
    span, size = f"tokens {run.start:,} to {run.stop - 1:,}", run.stop - run.start
    if run.modality in MEDIA:
        return f"{span} · {_medium(tokens, run)}"
    name = f"{span} ({size} form one character)" if size > 1 else f"token {run.start:,}"
    rows = range(run.start, min(run.stop, run.start + _MAX_PIECES))
    pieces = " ".join(f"\u2068{visible_token(tokens.pieces[row])}\u2069 ({tokens.ids[row]})" for row in rows)
    more = " …" if size > _MAX_PIECES else ""
    return f"{name} · {pieces}{more} · {tokens.scripts[run.start]}, {tokens.directions[run.start]}"


def _medium(tokens: TokenTable, run: Run) -> str:
    first, last = run.start, run.stop - 1
    index = tokens.media_index[first]
    parts = [f"{run.modality} {index + 1}" if index >= 0 else run.modality]
    if tokens.frames[first] >= 0:
        parts.append(f"frame {tokens.frames[first] + 1}")
    if tokens.times[first, 0] >= 0:
        parts.append(f"{tokens.times[first, 0] / 1000:g} to {tokens.times[last, 1] / 1000:g} s")
    if tokens.boxes[first, 0] >= 0:
        parts.append(f"{tokens.boxes[last, 2]} × {tokens.boxes[last, 3]} px")
    return " · ".join(parts)


def _rows(tokens: TokenTable) -> Markup:
    rows = [
        (
            f"{row:,}",
            f"{tokens.ids[row]:,}",
            bdi(visible_token(tokens.pieces[row])),
            bdi(visible_token(tokens.texts[row])),
            tokens.roles[row],
            tokens.modalities[row],
            f"{tokens.scripts[row]}, {tokens.directions[row]}",
            _position(tokens, row),
            "yes" if tokens.generated[row] else "",
        )
        for row in range(min(len(tokens), _MAX_ROWS))
    ]
    left = len(tokens) - len(rows)
    return table(
        rows,
        columns=("#", "id", "piece", "text", "role", "modality", "script", "position", "generated"),
        align="rrlllllll",
        caption="Tokens",
        notes=[f"{left:,} more rows are not shown."] if left else [],
    )


def _position(tokens: TokenTable, row: int) -> str:
    parts = []
    if tokens.boxes[row, 0] >= 0:
        x0, y0, x1, y1 = tokens.boxes[row].tolist()
        parts.append(f"x {x0}–{x1}, y {y0}–{y1} px")
    if tokens.times[row, 0] >= 0:
        parts.append(f"{tokens.times[row, 0]:,}–{tokens.times[row, 1]:,} ms")
    return ", ".join(parts)


def _legend() -> Markup:
    shades = [
        tag("span", word, style=f"background-color:{shade}")
        for word, shade in zip("ab", _SHADES, strict=True)
    ]
    swatches = [
        join([*shades, " tokens of text"]),
        tag("span", "control token", style=_FRAMES["special"]),
        *(
            tag("span", tag("span", f"{symbol} ", aria_hidden="true"), kind, style=_FRAMES[kind])
            for kind, symbol in _SYMBOLS.items()
        ),
        tag("span", "generated by the model", style=_GENERATED),
    ]
    return join(swatches, " · ")
