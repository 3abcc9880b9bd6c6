"""The planner's saved page in a real browser: numbers equal to Python's, keyboard, themes, no kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.pages import open_saved

from gemma_lab.planning.planner import plan
from gemma_lab.views.planning.text import short
from gemma_lab.widgets.planner.widget import Planner


@pytest.fixture
def saved(browser: Browser, tmp_path: Path) -> tuple[Page, list[str]]:
    widget = Planner(["E4B", "26B-A4B"], hardware="RTX 3090", day="2026-11-29")
    return open_saved(browser, widget.to_html(tmp_path / "planner.html"), height=1300)


def test_the_page_draws_what_python_says(saved: tuple[Page, list[str]]) -> None:
    page, errors = saved
    for model in ("E4B", "26B-A4B"):
        made = plan(model, hardware="RTX 3090")
        assert made.decode is not None
        row = page.get_by_test_id("planner-speed").locator(".gl-plan-row", has_text=model)
        expect(row).to_contain_text(f"{short(made.decode.value)} tokens/s")
        memory = page.get_by_test_id("planner-memory").locator(".gl-plan-row", has_text=model)
        expect(memory).to_contain_text("fits")
        expect(memory).to_contain_text(f"{made.needed_bytes / 2**30:.1f}"[:4])
    expect(page.get_by_test_id("planner-cost")).to_contain_text("Cheaper to own than")
    assert not errors


def test_a_change_is_drawn_without_a_kernel(saved: tuple[Page, list[str]]) -> None:
    page, errors = saved
    page.get_by_test_id("planner-hardware").select_option("RTX 5060 Ti 16GB")
    memory = page.get_by_test_id("planner-memory")
    expect(memory.locator(".gl-plan-row", has_text="26B-A4B")).to_contain_text("does not fit")
    page.get_by_test_id("planner-quantization").select_option("IQ4_XS")
    expect(memory.locator(".gl-plan-row", has_text="26B-A4B")).not_to_contain_text("does not fit")
    page.get_by_role("button", name="31B").click()
    expect(memory.locator(".gl-plan-row")).to_have_count(3)
    page.get_by_test_id("planner-hardware").select_option("Apple M4 Max")
    page.get_by_test_id("planner-runtime").select_option("MLX")
    expect(page.get_by_test_id("planner-quantization")).to_have_value("mlx-4bit")
    assert not errors


def test_every_number_explains_itself_to_pointer_and_keyboard(saved: tuple[Page, list[str]]) -> None:
    page, errors = saved
    why = page.locator(".gl-plan-why")
    page.locator(".gl-plan-part").first.focus()
    expect(why).to_contain_text("weights ×")
    first = why.inner_text()
    page.keyboard.press("ArrowRight")
    assert why.inner_text() != first
    page.keyboard.press("ArrowLeft")
    assert why.inner_text() == first
    page.locator(".gl-plan-dot").first.hover()
    expect(why).to_contain_text("Measured")
    page.locator(".gl-plan-cross").first.hover()
    expect(why).to_contain_text("Break-even")
    assert not errors


def test_it_follows_a_dark_page_and_a_narrow_one(browser: Browser, tmp_path: Path) -> None:
    widget = Planner(hardware="laptop", quantization="qat", day="2026-11-29")
    path = widget.to_html(tmp_path / "planner.html")
    page, errors = open_saved(browser, path, height=1300, color_scheme="dark")
    expect(page.locator(".gl-plan")).to_have_attribute("data-theme", "dark")
    page.set_viewport_size({"width": 420, "height": 1300})
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    assert not errors
