"""Figures and tables of plans: what they say, and that they say it for every kind of plan."""

from __future__ import annotations

import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.cost import Ownership
from gemma_lab.planning.planner import plan
from gemma_lab.views.planning.figures import (
    PART_COLORS,
    break_even_figure,
    plan_memory_figure,
    plan_speed_figure,
)
from gemma_lab.views.planning.html import licences_html, plans_html
from gemma_lab.views.planning.text import aligned, money, short

DAY = "2026-11-29"


def test_the_memory_figure_says_what_fits() -> None:
    plans = [
        plan("26B-A4B", hardware="RTX 5060 Ti", quantization=name, context=16_384)
        for name in ("Q4_K_M", "IQ4_XS")
    ]
    text = plan_memory_figure(plans).text
    assert "does not fit" in text.split(";")[0]
    assert "does not fit" not in text.split(";")[1]
    assert plans[0].figure().png().startswith(b"\x89PNG")


def test_every_part_has_a_colour() -> None:
    for model in ("E2B", "26B-A4B", "Qwen3.6-35B-A3B"):
        made = plan(model, hardware="RTX 3090", images=280, drafter=model != "Qwen3.6-35B-A3B")
        assert {part.key for part in made.parts} <= set(PART_COLORS)


def test_the_speed_figure_takes_plans_without_a_bandwidth() -> None:
    known = plan("12B", hardware="RTX 3090", context=65_536)
    blind = plan("12B", hardware={"memory_gib": 24}, context=65_536)
    plot = plan_speed_figure([known, blind])
    assert "12B" in plot.text
    assert len(plot.figure.axes[0].get_lines()) >= 2


def test_the_break_even_figure_names_every_crossing() -> None:
    made = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0")
    text = break_even_figure(made, hosted=["claude-haiku-4.5", "gemma-4-E4B"], on=DAY).text
    assert "claude-haiku-4.5 (Anthropic)" in text
    assert "million tokens" in text
    with pytest.raises(LabError, match="price"):
        break_even_figure(plan("12B", hardware={"bandwidth_gb_s": 400}), on=DAY)
    priced = Ownership(price_usd=100, power_w=100)
    assert break_even_figure(plan("12B", hardware={"bandwidth_gb_s": 400}), owned=priced, on=DAY).text


def test_tables_escape_what_they_are_given() -> None:
    made = plan("12B", hardware={"name": "<i>x</i>", "memory_gib": 16, "bandwidth_gb_s": 400})
    assert "<i>x" not in plans_html([made])
    from gemma_lab.planning.licensing import licences

    assert "Apache-2.0" in licences_html(licences())


def test_numbers_are_short() -> None:
    assert [short(value) for value in (0.5, 9.999, 12.34, 99.96, 1234.5)] == [
        "0.50",
        "10.0",
        "12.3",
        "100",
        "1,234",
    ]
    assert [money(value) for value in (0.0, 0.014, 1.5)] == ["0.00", "0.014", "1.50"]
    assert aligned([("a", "1"), ("bb", "22")], "lr") == ["a    1", "bb  22"]
    assert aligned([], "") == []
