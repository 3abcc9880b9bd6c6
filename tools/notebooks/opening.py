"""A notebook's first cell: its title, what it shows, what it needs and how long it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemma_lab.errors import LabError

from . import form

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS = ("Shows", "Needs", "Takes")
# `**Shows** text`, as a line or a list item, up to the next field or an empty line.
_FIELD = re.compile(
    r"^[-* ]*\*\*(?P<name>Shows|Needs|Takes):?\*\*(?P<text>.+?)(?=^[-* ]*\*\*(?:Shows|Needs|Takes)|\n\n|\Z)",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Opening:
    """Title and labelled lines of the first cell.

    Attributes
    ----------
    title
        The heading.
    shows, needs, takes
        The three labelled lines.
    """

    title: str
    shows: str
    needs: str
    takes: str


def opening(path: Path) -> Opening:
    """Read the first cell of the notebook at `path`.

    Raises
    ------
    LabError
        If it is not a ``# Title`` followed by ``**Shows**``, ``**Needs**`` and ``**Takes**``.
    """
    cells = form.read(path).cells
    text = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    title = re.match(r"# (?P<title>.+)", text)
    fields = {
        match["name"].lower(): " ".join(match["text"].split()).removeprefix(":").strip()
        for match in _FIELD.finditer(text)
    }
    missing = [name for name in _FIELDS if name.lower() not in fields]
    if title is None or missing:
        wanted = ", ".join(f"**{name}**" for name in missing or _FIELDS)
        raise LabError(
            f"{path.name} does not open with a title and {wanted}.",
            hint="Begin its first cell with `# Title`, then the lines **Shows** …, **Needs** …, **Takes** ….",
        )
    return Opening(title=title["title"].strip(), **fields)
