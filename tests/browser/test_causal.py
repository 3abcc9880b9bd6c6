"""The explorer of a causal map in a real browser: cells, keys, parts, and a page that loads nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

import gemma_lab as gl

CLEAN, CORRUPTED = "<img src=x onerror=alert(7)>", "<img src=x onerror=alert(3)>"


@pytest.fixture(scope="module")
def explorer(tiny_lab):
    lab = tiny_lab("26B-A4B")
    found = lab.causal_map(CLEAN, CORRUPTED, parts=["residual", "head"], controls=1, progress=False)
    made = gl.CausalExplorer(found, lab=lab)
    cell = found.top(1)[0]
    made.trace_cell(cell.layer, cell.column, part=cell.part)
    return made


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cells_are_read_with_pointer_and_keys(browser, tmp_path, explorer, theme):
    explorer.part = "residual"
    path = explorer.to_html(tmp_path / "page.html")
    context = browser.new_context(color_scheme=theme, viewport={"width": 1000, "height": 800})
    page, errors, requested = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    grid, cell = page.get_by_test_id("causal-map"), page.get_by_test_id("causal-cell")
    expect(cell).to_contain_text(f"layer {explorer.causal_map.top(1)[0].layer}: ")  # the one that was traced
    expect(page.get_by_test_id("causal-runs")).to_contain_text("patched")
    box = grid.locator("canvas").bounding_box()
    layers = explorer.causal_map.grid("residual").layers
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    expect(cell).to_contain_text(f"layer {layers[-1]}")
    page.mouse.move(5, 5)
    grid.focus()
    for key in ("End", "ArrowDown", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(cell).to_contain_text("nats")
    page.get_by_test_id("causal-part").select_option("head")  # read from the page: there is no kernel
    expect(page.get_by_test_id("causal-map")).to_have_count(1)
    assert page.get_by_test_id("causal-part").input_value() == "head"
    assert page.locator("img").count() == 0
    assert errors == []
    assert requested == [path.as_uri()]
    context.close()
