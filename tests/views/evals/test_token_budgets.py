"""Three panels, one scale each, and no time in the text."""

from __future__ import annotations

from gemma_lab.views.evals.token_budgets import BudgetResult, token_budget_figure


def test_each_budget_has_its_cost_its_time_and_its_answers():
    rows = [BudgetResult(70, 64, 0.5, 9, 10, (0.6, 0.98)), BudgetResult(280, 256, 1.5, 10, 10, (0.72, 1.0))]
    picture = token_budget_figure(rows, model="mini-x")
    cost, time, right = picture.figure.axes
    assert [bar.get_height() for bar in cost.patches] == [64, 256]
    assert list(time.lines[0].get_ydata()) == [0.5, 1.5]
    assert [list(line.get_ydata()) for line in right.lines] == [[60.0, 98.0], [90.0], [72.0, 100.0], [100.0]]
    assert "70: 9/10, 280: 10/10" in picture.text
