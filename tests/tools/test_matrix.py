"""The table of versions: rows are the counts of reports, and the last run of a combination is shown."""

from __future__ import annotations

import platform

import pytest

from tools import matrix

REPORT = (
    '<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="{errors}" failures="{failures}" '
    'skipped="{skipped}" tests="{tests}"/></testsuites>'
)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Record in an empty folder; return a function from counts to a report."""
    monkeypatch.setattr(matrix, "ROWS", tmp_path / "matrix.jsonl")
    monkeypatch.setattr(matrix, "TABLE", tmp_path / "matrix.md")

    def report(name, **counts):
        path = tmp_path / name
        path.write_text(REPORT.format(**counts))
        return str(path)

    return report


def test_reports_of_one_run_are_added_up_and_the_last_run_is_shown(written):
    first = written("a.xml", tests=10, failures=1, errors=1, skipped=2)
    second = written("b.xml", tests=1_000, failures=0, errors=0, skipped=3)
    matrix.main(["record", "unit", "colab", first])
    matrix.main(["record", "unit", "colab", first, second])
    matrix.main(["record", "notebooks", "newest", second])
    rows = [line for line in matrix.TABLE.read_text("utf-8").splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 2
    unit, notebooks = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows)
    assert unit[:2] == ["unit", platform.python_version()]
    assert unit[-6:-2] == ["1,010", "1,003", "5", "2"]
    assert notebooks[0] == "notebooks"
    assert notebooks[-6:-2] == ["1,000", "997", "3", "0"]


def test_a_package_that_is_not_installed_is_a_dash(written, monkeypatch):
    monkeypatch.setattr(matrix, "PACKAGES", ("no-such-package-at-all",))
    row = matrix.record("unit", "newest", [])
    assert row["no-such-package-at-all"] == "–"
    assert row["tests"] == 0
