"""What a notebook's first cell must say."""

from __future__ import annotations

import nbformat
import pytest

from gemma_lab.errors import LabError
from tools.notebooks.opening import Opening, opening


def write(path, text):
    cell = nbformat.v4.new_markdown_cell(text, id="title")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "# A title\n\n**Shows** this\nand that.\n\n**Needs** nothing.\n\n**Takes** 3 minutes.\n\nX.",
        "# A title\n\n- **Shows:** this and\n  that.\n- **Needs:** nothing.\n- **Takes:** 3 minutes.",
        "# A title\n**Shows**: this and that.\n**Needs**: nothing.\n**Takes**: 3 minutes.",
    ],
)
def test_the_three_lines_in_any_markdown(tmp_path, text):
    expected = Opening(title="A title", shows="this and that.", needs="nothing.", takes="3 minutes.")
    assert opening(write(tmp_path / "00_a.ipynb", text)) == expected


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("# A title\n\n**Shows** this.\n\n**Takes** 1 minute.", r"\*\*Needs\*\*\."),
        ("**Shows** this.\n\n**Needs** it.\n\n**Takes** 1 minute.", "a title"),
        ("", "Shows.*Needs.*Takes"),
    ],
)
def test_what_is_missing_is_named(tmp_path, text, missing):
    with pytest.raises(LabError, match=missing):
        opening(write(tmp_path / "00_a.ipynb", text))
