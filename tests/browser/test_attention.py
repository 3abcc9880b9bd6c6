"""The attention explorer, used in a browser as a person would use it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect
from support.attention_traces import arabic, hostile, long, picture, sound, text
from support.pages import NODES, PIXEL, open_saved, settles

from gemma_lab.widgets.attention.widget import AttentionExplorer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Browser, Locator, Page

    from conftest import Notebook
    from gemma_lab.trace.trace import Trace

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
LEFT, TOP = 132, 82  # of the map's square, in pixels

#: Points at a row until its read-out is there.
FIRST_READOUT = """(tokens) => new Promise((done) => {
  const look = () => {
    const map = document.querySelector(".gl-attention [data-testid=map]");
    if (map?.clientHeight > 100) {
      const box = map.getBoundingClientRect();
      const token = Math.floor((0.5 / Math.min(520, map.clientWidth - 146)) * tokens).toLocaleString("en");
      map.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 135, clientY: box.top + 82.5, bubbles: true }));
      const read = document.querySelector("[data-testid=row]").textContent;
      if (read.includes(`token ${token} ·`) && read.includes("top keys, exact")) return done();
    }
    requestAnimationFrame(look);
  };
  look();
})"""


def explorer(book: Notebook, number: int = 0) -> Locator:
    found = book.page.locator(".gl-attention").nth(number)
    expect(found.get_by_test_id("opened")).to_contain_text("Layer", timeout=60_000)
    found.scroll_into_view_if_needed()
    return found


def saved(browser: Browser, path: Path, **options: object) -> tuple[Page, list[str]]:
    """Open a saved page; returns it and its errors."""
    page, errors = open_saved(browser, path, height=1500, **options)
    expect(page.get_by_test_id("opened").first).to_contain_text("Layer", timeout=30_000)
    return page, errors


def point(
    page: Page, widget: Locator, query: float, key: float, *, wide: int, start: tuple[int, int] = (0, 0)
) -> None:
    """Move the pointer to a query and a key of the map that shows `wide` tokens."""
    box = widget.get_by_test_id("map").first.bounding_box()
    side = min(520, box["width"] - LEFT - 14)
    across, down = (key - start[1] + 0.5) / wide * side, (query - start[0] + 0.5) / wide * side
    page.mouse.move(box["x"] + LEFT + across, box["y"] + TOP + down)


def shares(widget: Locator) -> list[float]:
    """Read the card: the shares of the heaviest keys."""
    rows = (
        widget.get_by_test_id("row").first.locator(".gl-weight:visible > span:last-child").all_inner_texts()
    )
    return [float(row.removesuffix(" %").removeprefix("< ")) / 100 for row in rows]


def has_shares(widget: Locator, expected: Sequence[float], **near: float) -> None:
    """Expect these shares on the card, once a layer's rows are no longer on their way from Python."""
    settles(widget.page, lambda: shares(widget), pytest.approx(expected, **near))


def looks(trace: Trace, layer: int, head: int, query: int) -> list[float]:
    weights = trace.attention.top_keys(layer)[1][head, query]
    return [float(weight) for weight in weights if weight > 1e-5]


def hears(book: Notebook, cell: int, said: str) -> None:
    printed = book.page.locator(".jp-Cell").nth(cell).locator(".jp-OutputArea-output pre")
    for _ in range(10):
        book.run(cell)
        book.page.wait_for_timeout(400)
        found = printed.all_inner_texts()
        if found and found[-1].strip() == said:
            return
    expect(printed.last).to_have_text(said)


def test_what_is_read_is_where_the_head_looked(open_notebook: Callable[..., Notebook]) -> None:
    trace = arabic()
    book = open_notebook(
        "from support.attention_traces import arabic\nimport gemma_lab as gl\nexplorer = gl.AttentionExplorer(arabic())\nexplorer",
        "print(explorer.layer, explorer.head, explorer.selected_tokens)",
        "explorer.layer = 2\nexplorer.head = 3\nexplorer.selected_tokens = [12]",
        height=1300,
    )
    book.run(0)
    widget, page = explorer(book), book.page
    card = widget.get_by_test_id("row")
    point(page, widget, 25, 8, wide=39)
    expect(card).to_contain_text("token 25 · model")
    has_shares(widget, looks(trace, 5, 0, 25), rel=0.06)
    pair = trace.attention.pooled(5)[0, 25, 8]
    said = re.search(r"\(token 8\) ([\d.]+) %", card.inner_text())
    assert float(said[1]) / 100 == pytest.approx(pair, abs=0.004)
    # The text is tinted by the same row, and reads from right to left.
    heaviest = next(int(key) for key in trace.attention.top_keys(5)[0][0, 25] if key > 0)
    tints = widget.locator(".gl-tok").evaluate_all(
        "all => Object.fromEntries(all.map((e) => [e.dataset.t, e.style.backgroundColor]))"
    )
    assert tints[str(heaviest)].startswith("rgb")
    first, last = (widget.locator(f".gl-tok[data-t='{t}']") for t in (4, 9))
    assert first.bounding_box()["x"] > last.bounding_box()["x"]
    last.hover()
    expect(card).to_contain_text("token 9 · user")
    has_shares(widget, looks(trace, 5, 0, 9), rel=0.06)
    book.shot("attention-arabic", widget)
    book.theme("JupyterLab Dark")
    point(page, widget, 25, 8, wide=39)
    book.shot("attention-arabic-dark", widget)
    book.theme("JupyterLab Light")

    # Another head, from the grid; a token that stays; both go to Python and come from it.
    heads = widget.get_by_test_id("heads").bounding_box()
    page.mouse.click(heads["x"] + 58 + 46 * 1.5, heads["y"] + 44 + 46 * 2.5)
    expect(widget.get_by_test_id("opened")).to_contain_text("Layer 1 · head 2")
    last.click()
    hears(book, 1, "1 2 [9]")
    book.run(2)
    expect(widget.get_by_test_id("opened")).to_contain_text("Layer 2 · head 3")
    page.mouse.move(5, 5)
    expect(card).to_contain_text("token 12 ")
    has_shares(widget, looks(trace, 2, 3, 12), rel=0.06)
    # Who looks at it: the column instead of the row.
    widget.get_by_test_id("toward").select_option("to")
    expect(card).to_contain_text("is attended to by")
    column = np.sort(trace.attention.pooled(2)[3, :, 12])[::-1][:8]
    has_shares(widget, [float(one) for one in column if one > 1e-4], abs=0.006)
    book.check_quiet()


def test_zooming_from_pooled_bins_to_exact_rows_and_fetching_them(
    open_notebook: Callable[..., Notebook],
) -> None:
    trace = text(600, shared=2)
    whole = text(600, shared=2, rows=tuple(range(600)))
    book = open_notebook(
        "from support.attention_traces import text\nimport gemma_lab as gl\n"
        "class Again:\n    def attention_rows(self, trace, queries, *, layers):\n"
        "        made = text(600, shared=2, rows=tuple(queries)).attention\n"
        "        return {(layer, q): made.row(layer, q) for layer in layers for q in queries}\n"
        "explorer = gl.AttentionExplorer(text(600, shared=2), lab=Again())\nexplorer",
        height=1300,
    )
    book.run_all()
    widget, page = explorer(book), book.page
    how, fetch = widget.get_by_test_id("how"), widget.get_by_test_id("fetch")
    expect(how).to_contain_text("pooled: a cell is 5 queries (their mean) × 5 keys (their sum)")
    expect(fetch).to_be_disabled()
    point(page, widget, 450, 200, wide=600)
    expect(widget.get_by_test_id("row")).to_contain_text("its 8 top keys, exact")
    looked = trace.attention
    down, across = (np.searchsorted(looked.bin_edges, at, side="right") - 1 for at in (450, 200))
    mean = looked.pooled(5)[0, down, across]
    said = re.search(r"→ [\d–]+: ([\d.]+) %", widget.get_by_test_id("row").inner_text())
    assert float(said[1]) / 100 == pytest.approx(mean, abs=0.003)
    page.mouse.dblclick(*place(widget, 450, 200, 600))
    expect(how).to_contain_text("the top keys of 151 rows; behind them, pale, the pooled map")
    page.mouse.dblclick(*place(widget, 0.5, 0.5, 1))
    expect(how).to_contain_text("the top keys of 38 rows")
    book.shot("attention-zoomed", widget)
    fetch.click()
    expect(how).to_contain_text("all of 38 rows", timeout=20_000)
    page.mouse.move(*place(widget, 0.3, 0.6, 1))
    card = widget.get_by_test_id("row")
    expect(card).to_contain_text("the full row, exact")
    query = int(re.search(r"token (\d+) ", card.inner_text())[1])
    key, share = re.search(r"\(token (\d+)\) ([\d.]+) %", card.inner_text()).groups()
    assert float(share) / 100 == pytest.approx(whole.attention.row(5, query)[0, int(key)], rel=0.06, abs=2e-5)
    book.shot("attention-exact-rows", widget)
    book.check_quiet()


def place(widget: Locator, query: float, key: float, wide: float) -> tuple[float, float]:
    box = widget.get_by_test_id("map").first.bounding_box()
    side = min(520, box["width"] - LEFT - 14)
    return box["x"] + LEFT + key / wide * side, box["y"] + TOP + query / wide * side


def test_pictures_sounds_and_films_are_lit_by_what_is_looked_at(browser: Browser, tmp_path: Path) -> None:
    trace = picture()
    page, errors = saved(browser, AttentionExplorer(trace).to_html(tmp_path / "a.html"))
    widget = page.locator(".gl-attention")
    medium = widget.get_by_test_id("medium")
    expect(medium).to_be_visible()
    page.wait_for_timeout(300)
    question = int(np.flatnonzero(trace.tokens.texts == "What")[0])
    keys = trace.attention.top_keys(5)[0][0, question]
    lit = next(int(key) for key in keys if trace.tokens.modalities[key] == "image")
    x0, y0, x1, y1 = trace.tokens.boxes[lit] / 768 * medium.bounding_box()["width"]
    before = page.evaluate(PIXEL, [medium.element_handle(), (x0 + x1) / 2, (y0 + y1) / 2])
    widget.locator(f".gl-tok[data-t='{question}']").hover()
    assert page.evaluate(PIXEL, [medium.element_handle(), (x0 + x1) / 2, (y0 + y1) / 2]) != before
    given = re.search(r"([\d.]+) % of the row by its top keys", widget.locator("figcaption").inner_text())
    weights = trace.attention.top_keys(5)[1][0, question]
    image = sum(float(w) for k, w in zip(keys, weights, strict=True) if trace.tokens.modalities[k] == "image")
    assert float(given[1]) / 100 == pytest.approx(image, rel=0.06)
    shot(page, "attention-picture")
    # A patch is a token like any other.
    box = medium.bounding_box()
    page.mouse.move(box["x"] + 2.5 * box["width"] / 16, box["y"] + 1.5 * box["width"] / 16)
    expect(widget.get_by_test_id("row")).to_contain_text("image · pixels 96–144 × 48–96 · attends to")
    assert errors == []

    page, errors = saved(
        browser, AttentionExplorer(sound()).to_html(tmp_path / "b.html"), color_scheme="dark"
    )
    captions = page.locator(".gl-medium figcaption")
    expect(captions.nth(0)).to_contain_text("audio 1 · 50 tokens")
    expect(captions.nth(1)).to_contain_text("video 1 · 160 tokens")
    page.locator(".gl-tok", has_text="Which").hover()
    expect(captions.nth(0)).to_contain_text("of the row")
    shot(page, "attention-sound-dark")
    assert errors == []


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.locator(".gl-attention").screenshot(path=str(SHOTS / f"{name}.png"))


def test_two_prompts_stand_side_by_side_under_one_head(browser: Browser, tmp_path: Path) -> None:
    one, other = arabic(), text(60)
    page, errors = saved(browser, AttentionExplorer(one, other=other).to_html(tmp_path / "a.html"))
    cards = page.get_by_test_id("row")
    second = page.get_by_test_id("map").nth(1)
    box = second.bounding_box()
    side = min(520, box["width"] - LEFT - 14)
    page.mouse.move(box["x"] + LEFT + 20.5 / 60 * side, box["y"] + TOP + 40.5 / 60 * side)
    expect(cards.nth(1)).to_contain_text("token 40 ")
    expect(cards.nth(0)).to_contain_text("Point at a token")
    page.keyboard.press("Escape")
    page.get_by_test_id("heads").press("ArrowDown")
    expect(page.get_by_test_id("opened")).to_contain_text("Layer 5 · head 1")
    page.locator(".gl-flow").nth(1).locator(".gl-tok[data-t='30']").hover()
    shown = cards.nth(1).locator(".gl-weight:visible > span:last-child").all_inner_texts()
    expected = looks(other, 5, 1, 30)
    assert float(shown[0].removesuffix(" %")) / 100 == pytest.approx(expected[0], rel=0.06)
    shot(page, "attention-two")
    assert errors == []


def test_keyboard_names_and_a_narrow_page(browser: Browser, tmp_path: Path) -> None:
    trace = arabic()
    page, errors = saved(browser, AttentionExplorer(trace).to_html(tmp_path / "a.html"))
    grid, chart = page.get_by_test_id("heads"), page.get_by_test_id("map")
    assert "6 layers by 4 heads. Open: layer 5, global, head 0." in grid.get_attribute("aria-label")
    grid.press("ArrowLeft")
    grid.press("ArrowDown")
    expect(page.get_by_test_id("opened")).to_contain_text("Layer 4 · head 1")
    expect(page.get_by_test_id("opened")).to_contain_text("local, window 24")
    expect(page.get_by_role("status").last).to_have_text("Layer 4, local, head 1")
    chart.focus()
    for _ in range(6):
        page.keyboard.press("ArrowDown")
    card = page.get_by_test_id("row")
    expect(card).to_contain_text("token 5 ")
    page.keyboard.press("ArrowRight")
    heaviest = int(trace.attention.top_keys(4)[0][1, 5, 0])
    expect(card).to_contain_text(f"(token {heaviest})")
    expect(page.get_by_role("status").last).to_contain_text("attends to")
    page.keyboard.press("PageDown")
    page.keyboard.press("]")
    expect(page.get_by_test_id("opened")).to_contain_text("Layer 5 · head 2")
    page.keyboard.press("+")
    expect(page.get_by_test_id("how")).to_contain_text("tokens 2–21")
    page.keyboard.press("0")
    expect(page.get_by_test_id("how")).to_have_text("every cell is one query and one key")
    page.keyboard.press("Enter")
    expect(page.locator(".gl-picked")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".gl-picked")).to_have_count(0)
    page.get_by_test_id("measure").select_option("entropy")
    page.set_viewport_size({"width": 430, "height": 1200})
    page.wait_for_timeout(300)
    shot(page, "attention-narrow")
    assert page.locator(".gl-attention").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert errors == []


def test_hostile_tokens_stay_text(browser: Browser, tmp_path: Path) -> None:
    trace = hostile()
    page, errors = saved(browser, AttentionExplorer(trace).to_html(tmp_path / "a.html"))
    widget = page.locator(".gl-attention")
    assert widget.locator("img, script, style, iframe, b b").count() == 0
    assert widget.locator(".gl-name").text_content() == trace.meta["model"]
    for token in range(len(trace)):
        point(page, widget, token, 0, wide=len(trace))
        expect(widget.get_by_test_id("row")).to_contain_text(f"token {token} ")
    assert "\u202e" not in widget.get_by_test_id("row").inner_text()
    assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
    assert errors == []


@pytest.mark.parametrize("tokens", [32_768, 131_072])
def test_any_length_is_read(open_notebook: Callable[..., Notebook], tokens: int) -> None:
    book = open_notebook(
        f"from support.attention_traces import long\nimport gemma_lab as gl\nexplorer = gl.AttentionExplorer(long({tokens}))",
        "explorer",
        height=1300,
    )
    page = book.page
    book.run(0)
    expect(page.locator(".jp-InputPrompt").first).to_have_text("[1]:", timeout=120_000)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:move-cursor-down')")
    page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
                   void window.jupyterapp.commands.execute("notebook:run-cell"); }"""
    )
    page.evaluate(FIRST_READOUT, tokens)
    widget = explorer(book)
    point(page, widget, tokens * 0.75, tokens * 0.5, wide=tokens)
    card = widget.get_by_test_id("row")
    expect(card).to_contain_text("its 8 top keys, exact")
    query = int(re.search(r"token ([\d,]+) ", card.inner_text())[1].replace(",", ""))
    assert shares(widget)[:3] == pytest.approx([0.5, 0.25, 0.125], rel=0.02)
    assert query == pytest.approx(tokens * 0.75, abs=tokens / 400)
    nodes = widget.evaluate(NODES)
    assert nodes < 2000
    for _ in range(4):
        page.mouse.dblclick(*place(widget, 0.6, 0.4, 1))
        page.wait_for_timeout(250)
    expect(widget.get_by_test_id("how")).to_contain_text("the top keys")
    book.shot(f"attention-{tokens}", widget)
    assert widget.evaluate(NODES) < 2000
    book.check_quiet()


def test_a_saved_page_holds_long_texts_and_without_scripts_the_twin(browser: Browser, tmp_path: Path) -> None:
    path = AttentionExplorer(long(8192)).to_html(tmp_path / "a.html")
    page, errors = saved(browser, path)
    widget = page.locator(".gl-attention")
    point(page, widget, 8000, 0, wide=8192)
    expect(widget.get_by_test_id("row")).to_contain_text("its 8 top keys, exact")
    assert errors == []
    plain = browser.new_context(java_script_enabled=False, offline=True).new_page()
    plain.goto(path.as_uri())
    assert "mini-moe: layer 5, head 0 (global)" in plain.inner_text("main")
    assert plain.locator("main img").count() == 2
