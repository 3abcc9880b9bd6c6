"""The explorer of a comparison in a real browser: cells, keys, prompts, and a page that loads nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

import gemma_lab as gl

EDIT = gl.Edit(ablate_experts=range(50))
PROMPTS = ["What is this?", "<img src=x onerror=alert(1)>"]


@pytest.fixture(scope="module")
def explorer(tiny_lab):
    lab = tiny_lab("26B-A4B")
    result = gl.versus(lab, EDIT, PROMPTS, progress=False, max_new_tokens=5, rounds=0)
    return gl.VersusExplorer(result, prompt=0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_are_read_with_pointer_and_keys(browser, tmp_path, explorer, theme):
    path = explorer.to_html(tmp_path / "page.html")
    context = browser.new_context(color_scheme=theme, viewport={"width": 1000, "height": 800})
    page, errors, requested = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    grid, cell = page.get_by_test_id("versus-map"), page.get_by_test_id("versus-cell")
    expect(cell).to_contain_text("Point at a cell")
    box = grid.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 30)
    expect(cell).to_contain_text("layer 0")
    expect(page.locator(".gl-cells-kind")).to_have_count(2)  # experts of both models
    page.mouse.move(5, 5)
    grid.focus()
    for key in ("End", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    last = explorer.versus.tokens.row[explorer.versus.tokens.prompt == 0][-1]
    expect(cell).to_contain_text(f"token {last}")
    expect(cell).to_contain_text("KL of the next token")
    page.get_by_test_id("versus-measure").select_option("weight")
    page.keyboard.press("Tab")
    page.get_by_test_id("versus-prompt").select_option("1")  # read from the page: there is no kernel
    expect(page.get_by_test_id("versus-map")).to_have_count(1)
    assert page.get_by_test_id("versus-measure").input_value() == "weight"
    assert page.locator("img").count() == 0
    assert errors == []
    assert requested == [path.as_uri()]
    context.close()
