"""The curves say what the log says."""

from __future__ import annotations

import json
import math

import pytest

from gemma_lab.errors import LabError
from gemma_lab.views.evals.training import training_figure


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_one_panel_a_skill(tmp_path):
    rows = [{"step": 1, "seconds": 3.0, "loss": {"sight": 2.3}}]
    rows += [
        {"step": n, "seconds": 60.0 * n, "loss": {"digits": 2 / n},
         "running": {"digits": 2 / n, "names": 4.0, "recall": 1.0},
         "held_out_tokens_right": {"digits": 1 - 1 / n, "names": 0.1}}
        for n in range(1, 11)
    ]  # fmt: skip
    picture = training_figure(written(tmp_path / "log.jsonl", rows), name="mini-x")
    shown = [axes for axes in picture.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["digits", "names", "recall"]
    assert [axes.get_title(loc="right") for axes in shown] == ["90 %", "10 %", ""]
    (legend,) = picture.figure.legends
    assert [line.get_color() for line in legend.get_lines()] == [
        line.get_color() for line in shown[0].lines
    ], "loss and accuracy are told apart by the legend"
    assert all(label.get_visible() for axes in shown for label in axes.get_xticklabels())
    assert list(shown[0].lines[1].get_ydata()) == pytest.approx([100 * (1 - 1 / n) for n in range(1, 11)])
    assert list(shown[0].lines[0].get_ydata())[-1] == pytest.approx(10)
    assert len(shown[2].lines) == 1
    assert "10 minutes" in picture.text
    assert "digits 90%, names 10%" in picture.text
    assert picture.png()[:4] == b"\x89PNG"


def test_no_line_goes_over_a_part_whose_log_was_not_kept(tmp_path):
    rows = [
        {"step": n, "seconds": 60.0 * minute, "loss": {}, "running": {"names": 2.0},
         "held_out_tokens_right": {"names": 0.5}}
        for n, minute in enumerate((1, 2, 200, 201))
    ]  # fmt: skip
    (axes,) = [
        axes for axes in training_figure(written(tmp_path / "log.jsonl", rows), name="x").figure.axes
        if axes.get_visible()
    ]  # fmt: skip
    for line in axes.lines:
        assert [math.isnan(value) for value in line.get_ydata()] == [False, False, True, False, False]


def test_a_log_without_losses_is_refused(tmp_path):
    with pytest.raises(LabError, match="no losses yet"):
        training_figure(written(tmp_path / "log.jsonl", [{"step": 1, "seconds": 1, "loss": {}}]), name="x")
