"""Write the errors of the predictions, beside other estimators', into ``docs/planner.md``.

Run from the repository's root after `tools.planning.fit`::

    python -m tools.planning.report
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from gemma_lab.planning.facts import read_facts
from gemma_lab.planning.workload import Step

from .rivals import RIVALS
from .runs import Run, runs, settings

PAGE = Path(__file__).parents[2] / "docs" / "planner.md"
START, END = "<!-- errors: python -m tools.planning.report -->", "<!-- end of errors -->"
CLASSES: dict[str, Callable[[Run], bool]] = {
    "all": lambda run: bool(run.ids),
    "mixtures (26B-A4B, Qwen)": lambda run: "moe" in run.step.kind,
    "dense (12B, 31B, Gemma 3)": lambda run: run.step.kind == "dense",
    "E2B, E4B": lambda run: run.step.kind == "edge",
}


def tables() -> str:
    """Return the tables as Markdown."""
    rows = {row["ids"][0]: row for row in read_facts("errors.json")["rows"]}
    measured = settings(runs())
    return "\n".join([*_comparison(measured, rows), "", *_cards(measured, rows), "", *_runs(measured, rows)])


def error(predicted: float, measured: float) -> float:
    """Return the absolute relative error of a prediction."""
    return abs(predicted / measured - 1)


def _by(rule: Callable[[Step], float], run: Run) -> float:
    """Return the tokens/s of another estimator's rule."""
    return rule(run.step)


def _comparison(measured: list[Run], rows: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| rule | "
        + " | ".join(f"{name}: median" for name in CLASSES)
        + " | all: 90th percentile | all: bias |"
    ]
    lines.append("|---|" + "---:|" * (len(CLASSES) + 2))
    rules: dict[str, Callable[[Run], float]] = {
        "**this planner, the run's card left out**": lambda run: rows[run.ids[0]]["left_out"],
        "this planner, fitted": lambda run: rows[run.ids[0]]["fitted"],
        **{name: partial(_by, rule) for name, rule in RIVALS.items()},
    }
    for name, predict in rules.items():
        cells = []
        for wanted in CLASSES.values():
            errors = [error(predict(run), run.tokens_per_second) for run in measured if wanted(run)]
            cells.append(
                f"{np.median(errors):.0%}" if np.median(errors) >= 0.1 else f"{np.median(errors):.1%}"
            )
        errors = [error(predict(run), run.tokens_per_second) for run in measured]
        bias = np.median([math.log(predict(run) / run.tokens_per_second) for run in measured])
        cells += [f"{np.quantile(errors, 0.9):.0%}", f"{math.expm1(bias):+.0%}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cards(measured: list[Run], rows: dict[str, dict[str, float]]) -> list[str]:
    lines = ["| card left out | settings | median error | largest |", "|---|---:|---:|---:|"]
    for card in sorted({run.card for run in measured}):
        errors = [
            error(rows[run.ids[0]]["left_out"], run.tokens_per_second) for run in measured if run.card == card
        ]
        lines.append(f"| {card} | {len(errors)} | {np.median(errors):.0%} | {max(errors):.0%} |")
    return lines


def _runs(measured: list[Run], rows: dict[str, dict[str, float]]) -> list[str]:
    lines = [
        "| model | weights | hardware | runtime | date | depth | measured | card left out | error |",
        "|---|---|---|---|---|---:|---:|---:|---:|",
    ]
    ordered = sorted(
        measured, key=lambda run: (run.row["model"], run.card, run.row["date"], int(run.row["depth"]))
    )
    for run in ordered:
        row, predicted = run.row, rows[run.ids[0]]["left_out"]
        lines.append(
            f"| {row['model']} | {row['quantization']} | {row['hardware']} | {row['runtime']} "
            f"| {row['date']} | {int(row['depth']):,} | {run.tokens_per_second:.1f} | {predicted:.1f} "
            f"| {predicted / run.tokens_per_second - 1:+.0%} |"
        )
    return lines


def main() -> None:
    """Rewrite the section between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{START}\n{tables()}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
