"""Every row of the corpus: the right value or the right error, and nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from pathlib import Path

import pytest

import gemma_lab
from corpus.row import Corpus, Row
from gemma_lab.errors import UnknownModel


def _tables() -> dict[str, list[Row]]:
    """Return the rows of each kind: of every module in this package that has `ROWS`."""
    names = sorted(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = {
        name: importlib.import_module(f"corpus.{name}") for name in names if not name.startswith("test_")
    }
    return {name: list(module.ROWS) for name, module in modules.items() if hasattr(module, "ROWS")}


TABLES = _tables()
ALL = [(kind, row) for kind, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize(("kind", "row"), ALL, ids=[f"{kind}: {row.name}" for kind, row in ALL])
def test_row(kind, row, tmp_path):
    row.verify(Corpus(tmp_path))


@pytest.mark.parametrize("kind", TABLES)
def test_names_of_rows_are_unique(kind):
    counts = Counter(row.name for row in TABLES[kind])
    assert not [name for name, count in counts.items() if count > 1]


def test_only_lab_errors_are_expected():
    assert all(issubclass(row.raises, gemma_lab.LabError) for _, row in ALL if row.raises)


@pytest.mark.parametrize(
    "row",
    [
        Row("another value", lambda _: 1, equals=2),
        Row("a check", lambda _: 1, check=lambda value: value > 1),
        Row("no error", lambda _: 1, raises=gemma_lab.LabError),
        Row("another message", lambda _: gemma_lab.load("none"), raises=UnknownModel, holds=("47",)),
        Row("its base class", lambda _: gemma_lab.load("none"), raises=gemma_lab.LabError),
    ],
    ids=lambda row: row.name,
)
def test_a_row_can_fail(row, tmp_path):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        row.verify(Corpus(tmp_path))
