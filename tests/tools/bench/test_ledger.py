"""Newer results replace those of the same test, and the committed page is that of the committed results."""

from __future__ import annotations

from tools.bench import ledger
from tools.bench.results import Outcome, Result, append, read
from tools.bench.table import page
from tools.notebooks.checkout import checkout


def result(row, measured, test="t.py::a", **more):
    return Result(row, measured, test=test, **more)


def test_a_test_that_ran_again_loses_what_it_said_before():
    old = ([result("a", 1.0, case="gone"), result("b", 2.0, test="t.py::b")], [])
    results, _ = ledger.merged(old, ([result("a", 3.0, case="new")], []))
    assert [(each.row, each.case, each.measured) for each in results] == [("b", "", 2.0), ("a", "new", 3.0)]


def test_a_test_that_passes_loses_its_failure_and_one_that_did_not_run_keeps_it():
    old = ([], [Outcome("t.py::a", "failed", "x"), Outcome("t.py::b", "skipped", "y")])
    _, outcomes = ledger.merged(old, ([], [Outcome("t.py::a", "passed", "")]))
    assert outcomes == [Outcome("t.py::b", "skipped", "y")]


def test_known_rows_come_first():
    results, _ = ledger.merged(([], []), ([result("zzz", 1.0), result("attention-time", 1.0)], []))
    assert [each.row for each in results] == ["attention-time", "zzz"]


def test_keeping_a_run_writes_results_and_page(tmp_path):
    run = tmp_path / "run.jsonl"
    append(run, result("import-time", 0.1, target="< 0.3"))
    append(run, Outcome("t.py::c", "failed", "why"))
    ledger.keep(run, tmp_path)
    ledger.keep(tmp_path / "nothing", tmp_path)  # a run that wrote nothing changes nothing
    assert read(tmp_path / ledger.RESULTS) == (
        [result("import-time", 0.1, target="< 0.3")],
        [Outcome("t.py::c", "failed", "why")],
    )
    assert "why" in (tmp_path / ledger.PAGE).read_text(encoding="utf-8")


def test_the_committed_page_is_that_of_the_committed_results():
    folder = checkout().folder
    committed = (folder / ledger.PAGE).read_text(encoding="utf-8")
    assert committed == page(*read(folder / ledger.RESULTS)), "run: python -m tools.bench table"
