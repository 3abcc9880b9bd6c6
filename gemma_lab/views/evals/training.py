"""Training curves of a mini model, one panel per skill."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

from ...errors import LabError
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure

_COLUMNS = 5
_GAP = 60.0  # minutes without a row over which no line goes: their log was not kept


def training_figure(log: Path, *, name: str) -> Plot:
    """Draw held-out token accuracy and loss by minutes of computing.

    Parameters
    ----------
    log
        The run's ``log.jsonl``, or the ``training.jsonl`` that ships with a mini.
    name
        Name of the mini.

    Raises
    ------
    LabError
        If the log has no losses.
    """
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    trained = [row for row in rows if row.get("running")]
    if not trained:
        raise LabError(
            f"{log.name} has no losses yet.", hint="gemma-lab minis train writes one every 20 steps."
        )
    skills = list(trained[-1]["running"])
    lines = math.ceil(len(skills) / _COLUMNS)
    layout = {"nrows": lines, "ncols": _COLUMNS, "sharex": True, "sharey": True, "squeeze": False}
    with new_figure(9.2, 0.9 + 1.65 * lines, **layout) as (figure, grid):
        for number, (axes, skill) in enumerate(zip(grid.flat, skills, strict=False)):
            _panel(axes, rows, skill)
            axes.tick_params(left=False, labelbottom=number + _COLUMNS >= len(skills))
        for axes in list(grid.flat)[len(skills) :]:
            axes.set_visible(False)
        figure.supxlabel("minutes of computing", fontsize=9.5)
        figure.supylabel("%", fontsize=9.5)
        figure.suptitle(f"Training of {name}", x=0.01, ha="left", fontweight="bold")
        handles, labels = max(
            (axes.get_legend_handles_labels() for axes in grid.flat), key=lambda found: len(found[0])
        )
        figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    last: dict[str, float] = next(
        (row["held_out_tokens_right"] for row in reversed(rows) if "held_out_tokens_right" in row), {}
    )
    rates = ", ".join(f"{skill} {share:.0%}" for skill, share in last.items()) or "not measured yet"
    return Plot(
        figure,
        text=f"Training of {name}, {rows[-1]['seconds'] / 60:.0f} minutes; held-out token accuracy: {rates}.",
    )


def _panel(axes: Any, rows: list[dict[str, Any]], skill: str) -> None:
    losses_by_minute = [
        (row["seconds"] / 60, row["running"][skill]) for row in rows if skill in row.get("running", {})
    ]
    highest = max(loss for _, loss in losses_by_minute)
    shares = [(minute, 100 * loss / highest) for minute, loss in losses_by_minute]
    axes.plot(*zip(*_parted(shares), strict=True), color=OKABE_ITO["grey"], linewidth=1,
              linestyle=(0, (3, 1.5)), label="training loss, % of its highest value")  # fmt: skip
    right = [
        (row["seconds"] / 60, 100 * row["held_out_tokens_right"][skill])
        for row in rows
        if skill in row.get("held_out_tokens_right", {})
    ]
    axes.set_title(skill, fontsize=9)
    if right:
        axes.plot(*zip(*_parted(right), strict=True), color=OKABE_ITO["blue"], linewidth=1.8, marker="o",
                  markersize=2.6, label="right tokens of held-out answers, %; number: last")  # fmt: skip
        axes.set_title(
            f"{right[-1][1]:.0f} %", loc="right", fontsize=9, fontweight="normal", color=OKABE_ITO["blue"]
        )
    axes.set_ylim(0, 104)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    hide_frame(axes, keep="bottom")


def _parted(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points by minute with nothing, NaN, between two that are more than `_GAP` apart."""
    parted = points[:1]
    for before, after in itertools.pairwise(points):
        if after[0] - before[0] > _GAP:
            parted.append((before[0], math.nan))
        parted.append(after)
    return parted
