"""The report of a running training: a live curve in a notebook's kernel only, and the caller's callback."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gemma_lab.models.fine_tuning.progress import ProgressReport, TrainingProgress


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for a notebook's kernel, and return what it shows."""
    import IPython.display

    drawn: list[Any] = []
    handle = SimpleNamespace(update=drawn.append)

    def display(value: Any, *, display_id: bool) -> Any:
        assert display_id
        drawn.append(value)
        return handle

    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr("gemma_lab.models.fine_tuning.progress._REDRAW", 0.0)
    return drawn


def _run(report: ProgressReport, steps: int = 4) -> None:
    losses: list[float] = []
    for step in range(1, steps + 1):
        losses.append(1.0 / step)
        report.step(TrainingProgress(step, steps, step / steps, losses[-1], 1e-3, 10 * step, 2.0), losses)
    report.close(losses, 1.0)


def test_a_notebook_shows_one_curve_that_grows(shown: list[Any]) -> None:
    _run(ProgressReport("toy", shown=True, callback=None))
    assert [len(curve.losses) for curve in shown] == [1, 2, 3, 4, 4]
    assert shown[-1].fraction == 1.0
    assert "<svg" in shown[-1]._repr_html_()


def test_static_mode_hidden_progress_and_terminals_show_no_curve(
    shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(ProgressReport("toy", shown=False, callback=None))
    monkeypatch.setenv("GEMMA_LAB_STATIC", "1")
    _run(ProgressReport("toy", shown=True, callback=None))
    monkeypatch.setenv("GEMMA_LAB_STATIC", "0")
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    _run(ProgressReport("toy", shown=True, callback=None))
    assert shown == []


def test_the_callback_gets_every_step() -> None:
    seen: list[TrainingProgress] = []
    _run(ProgressReport("toy", shown=False, callback=seen.append))
    assert [progress.step for progress in seen] == [1, 2, 3, 4]
    assert seen[1].tokens_per_second == 10
