"""A token table as script-free HTML: the text as it reads, with the cuts between its tokens made visible.

Text is set inline, without gaps, so that Arabic letters still join and right-to-left text runs its way
across tokens. Neighbouring tokens differ in shade, and nothing is told by colour alone: control tokens and
soft tokens are framed and named, what the model wrote is underlined, each turn carries its role in words.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, escape, footnotes, table
from ..chat.reply import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...trace.tokens.table import Run, TokenTable
    from ...trace.trace import Trace

#: Tokens drawn, and rows of the detailed table; more are counted, not shown.
_MOST, _MOST_ROWS = 3_000, 200
#: Okabe–Ito sky blue, weak enough for text on light and on dark.
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
_SIGNS = {"image": "▦", "video": "▶", "audio": "♪"}
# plaintext: every line runs by its own first strong character
_TEXT = "white-space:pre-wrap;unicode-bidi:plaintext;overflow-wrap:anywhere;line-height:1.9"
_ROLES = {"": "outside a turn"}


def tokens_html(tokens: TokenTable) -> Markup:
    """Return a token table as HTML: one block a turn, one shade a token, details on hover and in a table.

    Parameters
    ----------
    tokens
        What `gemma_lab.trace.tokens.table.TokenTable.of` returned, or ``trace.tokens``.

    Returns
    -------
    Markup
    """
    return Markup(
        f'<div role="group" aria-label="{escape(_name(tokens))}" style="margin:.5em 0">'
        f'<div style="font-weight:600">{escape(_name(tokens))}</div>{text_html(tokens)}'
        f"<details><summary>Tokens one by one</summary>{_rows(tokens)}</details></div>"
    )


def text_html(tokens: TokenTable, *, most: int = _MOST) -> Markup:
    """Return the text alone, cut into its tokens, with a legend.

    Parameters
    ----------
    tokens
        The tokens.
    most
        How many of them to draw. A run of soft tokens is drawn whole or not at all.
    """
    stop = min(most, len(tokens))
    while (
        0 < stop < len(tokens)
        and tokens.modalities[stop] in _SIGNS
        and (tokens.modalities[stop] == tokens.modalities[stop - 1])
    ):
        stop += 1
    shown, left = tokens.select(slice(0, stop)), len(tokens) - stop
    blocks = "".join(_block(shown, role, runs) for role, runs in _turns(shown.runs()))
    notes: list[object] = [_legend()]
    notes += [f"{left:,} more tokens are not shown."] if left else []
    return Markup(f"{blocks}{footnotes(notes)}")


def _turns(runs: list[Run]) -> list[tuple[str, list[Run]]]:
    """Group runs by role; the line end that follows a turn goes with it."""
    turns: list[tuple[str, list[Run]]] = []
    for role, group in groupby(runs, lambda run: run.role):
        part = list(group)
        if not role and turns and all(run.modality == "special" for run in part):
            turns[-1][1].extend(part)
        else:
            turns.append((role, part))
    return turns


def _name(tokens: TokenTable) -> str:
    return repr(tokens).removeprefix("TokenTable(").removesuffix(")")


def _block(tokens: TokenTable, role: str, runs: list[Run]) -> str:
    drawn = ""
    for framed, group in groupby(enumerate(runs), lambda item: item[1].modality in _FRAMES):
        part = "".join(_drawn(tokens, number, run) for number, run in group)
        # the words of the chat format run left to right, whatever stands beside them
        drawn += f'<span dir="ltr">{part}</span>' if framed else part
    return (
        '<div style="display:flex;gap:.75em;margin:.25em 0">'
        f'<div style="flex:0 0 6.5em;font-size:.85em;opacity:.8">{escape(_ROLES.get(role, role))}</div>'
        f'<div dir="auto" style="flex:1;{_TEXT}">{drawn}</div></div>'
    )


def _drawn(tokens: TokenTable, number: int, run: Run) -> str:
    hover = escape(_hover(tokens, run))
    if run.modality in _FRAMES:
        sign = f'<span aria-hidden="true">{_SIGNS[run.modality]} </span>' if run.modality in _SIGNS else ""
        return f'<bdi style="{_FRAMES[run.modality]}" title="{hover}">{sign}{escape(_named(run.label))}</bdi>'
    underline = ";border-bottom:2px solid #0072B2" if tokens.generated[run.stop - 1] else ""
    # A line end is drawn, and still ends the line.
    text = escape(run.label).replace("\n", '<span aria-hidden="true" style="opacity:.5">↵</span>\n')
    return f'<span style="background-color:{_SHADES[number % 2]}{underline}" title="{hover}">{text}</span>'


def _named(label: str) -> str:
    return visible(label) if label.isspace() else label


def _hover(tokens: TokenTable, run: Run) -> str:
    """Return what hovering says, without markup, each text isolated from the direction of the others."""
    rows = range(run.start, min(run.stop, run.start + 8))
    size = run.stop - run.start
    name = (
        f"tokens {run.start:,} to {run.stop - 1:,} ({size} make one)" if size > 1 else f"token {run.start:,}"
    )
    if run.modality in _SIGNS:
        return f"tokens {run.start:,} to {run.stop - 1:,} · {_place(tokens, run)}"
    parts = " ".join(f"\u2068{visible(tokens.pieces[row])}\u2069 ({tokens.ids[row]})" for row in rows)
    more = " …" if size > 8 else ""
    return f"{name} · {parts}{more} · {tokens.scripts[run.start]}, {tokens.directions[run.start]}"


def _place(tokens: TokenTable, run: Run) -> str:
    first, last = run.start, run.stop - 1
    said = [
        f"{run.modality} {tokens.media_index[first] + 1}" if tokens.media_index[first] >= 0 else run.modality
    ]
    if tokens.frames[first] >= 0:
        said.append(f"frame {tokens.frames[first] + 1}")
    if tokens.times[first, 0] >= 0:
        said.append(f"{tokens.times[first, 0] / 1000:g} to {tokens.times[last, 1] / 1000:g} s")
    if tokens.boxes[first, 0] >= 0:
        said.append(f"{tokens.boxes[last, 2]} × {tokens.boxes[last, 3]} px")
    return " · ".join(said)


def _rows(tokens: TokenTable) -> Markup:
    rows = [
        (
            f"{row:,}",
            f"{tokens.ids[row]:,}",
            bdi(visible(tokens.pieces[row])),
            bdi(visible(tokens.texts[row])),
            tokens.roles[row],
            tokens.modalities[row],
            f"{tokens.scripts[row]}, {tokens.directions[row]}",
            _where(tokens, row),
            "yes" if tokens.generated[row] else "",
        )
        for row in range(min(len(tokens), _MOST_ROWS))
    ]
    left = len(tokens) - len(rows)
    return table(
        rows,
        columns=("#", "id", "piece", "shows", "role", "modality", "script", "place", "generated"),
        align="rrlllllll",
        caption="Tokens",
        notes=[f"{left:,} more rows are not shown."] if left else [],
    )


def _where(tokens: TokenTable, row: int) -> str:
    said = []
    if tokens.boxes[row, 0] >= 0:
        x0, y0, x1, y1 = tokens.boxes[row].tolist()
        said.append(f"x {x0}–{x1}, y {y0}–{y1} px")
    if tokens.times[row, 0] >= 0:
        said.append(f"{tokens.times[row, 0]:,}–{tokens.times[row, 1]:,} ms")
    return ", ".join(said)


def _legend() -> Markup:
    swatches: Iterable[str] = (
        f'<span style="background-color:{_SHADES[0]}">one</span>'
        f'<span style="background-color:{_SHADES[1]}">two</span> tokens of text',
        f'<span style="{_FRAMES["special"]}">control token</span>',
        *(
            f'<span style="{_FRAMES[kind]}"><span aria-hidden="true">{sign} </span>{kind}</span>'
            for kind, sign in _SIGNS.items()
        ),
        '<span style="border-bottom:2px solid #0072B2">written by the model</span>',
    )
    return Markup(" · ".join(swatches))


def label_of(trace: Trace, token: int) -> str:
    """Return what a token is called where it stands alone."""
    text, (x0, y0, x1, y1) = str(trace.tokens.texts[token]), trace.tokens.boxes[token].tolist()
    if x1 > x0 >= 0 and y1 > y0 >= 0:
        return f"column {round(x0 / (x1 - x0)) + 1}, row {round(y0 / (y1 - y0)) + 1}"
    if trace.tokens.times[token, 0] >= 0:
        return f"{trace.tokens.times[token, 0] / 1000:.2f} s"
    if not text:
        return visible(str(trace.tokens.pieces[token]))
    return visible(text).replace("\n", "⏎").replace(" ", "␣")
