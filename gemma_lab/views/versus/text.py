"""A comparison of two models as plain text, for terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.text import shorten, visible
from .html import TOKEN_COLUMNS, finding_cells, memory_cells, token_cells

if TYPE_CHECKING:
    from ...evals.versus.comparison import ComparedTokens, Versus

_COLUMNS = ("part", "measure", "first", "second", "difference", "95 % interval", "beside it")
_LONGEST = 48


def versus_text(versus: Versus) -> str:
    """Return a comparison as lines: both models, the findings, the answers that differ, what is absent."""
    lines = [
        f"first:  {visible(versus.names[0])}: {visible(versus.descriptions[0])}",
        f"second: {visible(versus.names[1])}: {visible(versus.descriptions[1])}",
        "",
        *_table([_COLUMNS, *finding_cells(versus, checkup=True), *memory_cells(versus)]),
    ]
    differing = [pair for pair in versus.answers if pair.equal is False]
    same, asked = versus.equal_answers
    lines += ["", f"answers: {same} of {asked} are the same"]
    for pair in differing:
        texts = [
            shorten(" ".join(visible(text or "").split()), 2 * _LONGEST) for text in (pair.first, pair.second)
        ]
        lines += [f"  {visible(pair.prompt)}", f"    first:  {texts[0]}", f"    second: {texts[1]}"]
    lines += [visible(f"{part}: {reason}") for part, reason in versus.absent.items()]
    return "\n".join(lines)


def compared_tokens_text(tokens: ComparedTokens) -> str:
    """Return tokens of a comparison as aligned lines."""
    return "\n".join(_table([TOKEN_COLUMNS, *token_cells(tokens)]))


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[shorten(visible(cell).replace("\u00a0", " "), _LONGEST) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
