"""The routing explorer, used in a browser as a person would use it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.pages import NODES, PIXEL, settles
from support.routing_traces import arabic_trace, hostile_trace, long_trace, picture_trace, sound_trace

from gemma_lab.widgets.routing.widget import RoutingExplorer

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from conftest import Notebook
    from gemma_lab.trace.trace import Trace

ROW, LABELS = 18, 132  # of the heat map, in pixels

#: Points at a token until its read-out is there.
FIRST_READOUT = """() => new Promise((done) => {
  const look = () => {
    const heat = document.querySelector(".gl-routing [data-testid=heat]");
    if (heat?.clientHeight) {
      const box = heat.getBoundingClientRect();
      heat.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + 300, clientY: box.top + 63, bubbles: true }));
      if (/token 3 /.test(document.querySelector("[data-testid=token]").innerText)) return done();
    }
    requestAnimationFrame(look);
  };
  look();
})"""


def explorer(book: Notebook, number: int = 0) -> Locator:
    found = book.page.locator(".gl-routing").nth(number)
    expect(found.locator(".gl-facts")).to_contain_text("experts", timeout=60_000)
    found.scroll_into_view_if_needed()
    return found


def hears(book: Notebook, cell: int, text: str | re.Pattern[str]) -> None:
    """Run a cell until it prints `text`: what a view chose is on its way for a moment."""
    printed = book.page.locator(".jp-Cell").nth(cell).locator(".jp-OutputArea-output pre")
    for _ in range(10):
        book.run(cell)
        book.page.wait_for_timeout(400)
        found = printed.all_inner_texts()
        if found and (text == found[-1].strip() if isinstance(text, str) else text.search(found[-1])):
            return
    expect(printed.last).to_have_text(text)


def point(
    page: Page, widget: Locator, token: int, expert: int, *, experts: int = 128, right: int = 58
) -> None:
    """Move the pointer to a token's row and an expert's column; the map beside is there from 23 rows on."""
    box = widget.get_by_test_id("heat").bounding_box()
    cell = (box["width"] - LABELS - right) / experts
    page.mouse.move(box["x"] + LABELS + (expert + 0.5) * cell, box["y"] + (token + 0.5) * ROW)


def weights(widget: Locator) -> dict[int, float]:
    """Read the token's card."""
    rows = widget.get_by_test_id("token").locator(".gl-weight:visible").all_inner_texts()
    return {int(row.split()[0]): float(row.split()[-1]) for row in rows}


def has_weights(widget: Locator, expected: dict[int, float]) -> None:
    """Expect these weights on the card, once a layer's rows are no longer on their way from Python."""
    settles(widget.page, lambda: weights(widget), pytest.approx(expected, abs=2e-3))


def applied(trace: Trace, layer: int, token: int) -> dict[int, float]:
    one = trace.routing.layer(layer)
    return {int(e): float(w) for e, w in zip(one.ids[0, token], one.weights[0, token], strict=True)}


def test_what_is_read_is_what_the_router_did(open_notebook: Callable[..., Notebook]) -> None:
    trace = arabic_trace()
    book = open_notebook(
        "from support.routing_traces import arabic_trace\nimport gemma_lab as gl\n"
        "explorer = gl.RoutingExplorer(arabic_trace(), layer=3)\nexplorer",
        "print(explorer.layer, explorer.selected_tokens, explorer.selected_experts)",
        "explorer.layer = 4\nexplorer.selected_tokens = [5]\nexplorer.selected_experts = [17]",
        height=1150,
    )
    book.run(0)
    widget = explorer(book)
    page = book.page

    # A token, from the heat map.
    expert = max(applied(trace, 3, 7).items(), key=lambda pair: pair[1])[0]
    point(page, widget, 7, expert)
    card = widget.get_by_test_id("token")
    expect(card).to_contain_text("token 7 · user · text · Arabic")
    has_weights(widget, applied(trace, 3, 7))
    expect(card.locator(".gl-lit")).to_contain_text(str(expert))
    served = int((trace.routing.layer(3).ids == expert).sum())
    expect(widget.get_by_test_id("expert")).to_contain_text(f"Served {served} of 39 tokens")
    # The same token, and everywhere the expert was, in the text.
    expect(widget.locator(".gl-tok.gl-read")).to_have_attribute("data-t", "7")
    lit = widget.locator(".gl-tok").evaluate_all(
        "all => all.filter((e) => e.style.color).map((e) => Number(e.dataset.t))"
    )
    tokens = {t for t in range(39) if expert in applied(trace, 3, t)}
    shown = {t for t in range(39) if trace.tokens.texts[t] or trace.tokens.modalities[t] == "special"}
    assert set(lit) - {38, 37} == (tokens & shown) - {38, 37}  # the star's cluster is lit by any of its three

    # A token, from the text: it reads from right to left.
    first, last = (widget.locator(f".gl-tok[data-t='{t}']") for t in (4, 9))
    assert first.bounding_box()["x"] > last.bounding_box()["x"]
    last.hover()
    expect(card).to_contain_text("token 9 · user")
    has_weights(widget, applied(trace, 3, 9))
    book.shot("routing-arabic", widget)
    book.theme("JupyterLab Dark")
    point(page, widget, 7, expert)
    book.shot("routing-arabic-dark", widget)
    book.theme("JupyterLab Light")

    # The selection goes to Python and comes from it.
    point(page, widget, 7, expert)
    page.mouse.down()
    page.mouse.up()
    widget.locator(".gl-tok[data-t='9']").click()
    hears(book, 1, f"3 [9] [{expert}]")
    slider, shown_layer = widget.get_by_test_id("layer"), widget.locator(".gl-layer output")
    slider.fill("4")
    expect(shown_layer).to_contain_text("4 of")
    slider.fill("3")
    expect(shown_layer).to_contain_text("3 of")
    hears(book, 1, "3 [9] []")  # experts of one layer are not those of another
    book.run(2)
    expect(widget.locator(".gl-layer output")).to_contain_text("4 of 0–5")
    expect(widget.locator(".gl-tok.gl-picked")).to_have_attribute("data-t", "5")
    page.mouse.move(5, 5)
    expect(widget.get_by_test_id("expert")).to_contain_text("Expert 17")
    book.check_quiet()


def test_keyboard_filters_and_a_narrow_page(open_notebook: Callable[..., Notebook]) -> None:
    trace = arabic_trace()
    book = open_notebook(
        "from support.routing_traces import arabic_trace\nimport gemma_lab as gl\nexplorer = gl.RoutingExplorer(arabic_trace())\nexplorer",
        "print(explorer.selected_tokens, explorer.selected_experts)",
        height=1150,
    )
    book.run(0)
    widget, page = explorer(book), book.page
    heat = widget.get_by_test_id("heat")
    heat.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    card = widget.get_by_test_id("token")
    expect(card).to_contain_text("token 4 ")
    page.keyboard.press("ArrowRight")
    lowest = min(applied(trace, 3, 4))
    expect(widget.get_by_test_id("expert")).to_contain_text(f"Expert {lowest}")
    expect(widget.get_by_role("status").last).to_contain_text(f"expert {lowest} weight")
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    hears(book, 1, f"[4] [{lowest}]")
    heat.focus()
    page.keyboard.press("PageDown")
    expect(widget.locator(".gl-layer output")).to_contain_text("4 of")
    page.keyboard.press("End")
    expect(card).to_contain_text("token 38 ")
    page.keyboard.press("ArrowUp")
    expect(card).to_contain_text("the last of 3 tokens of one character")
    page.keyboard.press("Escape")
    expect(widget.locator(".gl-picked")).to_have_count(0)

    widget.get_by_test_id("script").select_option("Arab")
    arabic = int((trace.tokens.scripts == "Arab").sum())
    expect(widget.locator(".gl-count")).to_have_text(f"{arabic} of 39 tokens")
    point(page, widget, 0, 40, right=12)
    expect(card).to_contain_text("token 4 ")
    widget.get_by_test_id("role").select_option("model")
    both = int(((trace.tokens.scripts == "Arab") & (trace.tokens.roles == "model")).sum())
    expect(widget.locator(".gl-count")).to_have_text(f"{both} of 39 tokens")
    book.shot("routing-filtered", widget)
    widget.evaluate("e => e.style.width = '420px'")
    page.wait_for_timeout(200)
    book.shot("routing-narrow", widget)
    assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
    book.check_quiet()


def test_patches_are_drawn_on_the_picture_and_sounds_along_their_time(
    open_notebook: Callable[..., Notebook],
) -> None:
    trace = picture_trace(layers=30)
    book = open_notebook(
        "from support.routing_traces import picture_trace, sound_trace\nimport gemma_lab as gl\n"
        "display(gl.RoutingExplorer(picture_trace(layers=30)), gl.RoutingExplorer(sound_trace()))",
        height=1200,
    )
    book.run_all()
    widget, page = explorer(book), book.page
    medium = widget.get_by_test_id("medium")
    expect(widget.locator(".gl-medium figcaption")).to_contain_text("image 1 · 192 tokens")
    box = medium.bounding_box()
    side = box["width"] / 16
    page.mouse.move(box["x"] + 2.5 * side, box["y"] + 1.5 * side)  # the third patch of the second row
    token = int(trace.tokens.media_index.argmax()) + 16 + 2
    expect(widget.get_by_test_id("token")).to_contain_text(
        f"token {token} · user · image · pixels 96–144 × 48–96"
    )
    has_weights(widget, applied(trace, 15, token))
    before = page.evaluate(PIXEL, [medium.element_handle(), 2.5 * side, 8.5 * side])
    book.shot("routing-picture", widget)
    # An expert that leads nowhere veils the picture; one that serves a patch tints it.
    expert = max(applied(trace, 15, token).items(), key=lambda pair: pair[1])[0]
    bars = widget.get_by_test_id("bars").bounding_box()
    cell = (bars["width"] - LABELS - 58) / 128
    page.mouse.move(bars["x"] + LABELS + (expert + 0.5) * cell, bars["y"] + 30)
    expect(widget.locator(".gl-medium figcaption")).to_contain_text(f"weight of expert {expert}")
    assert page.evaluate(PIXEL, [medium.element_handle(), 2.5 * side, 8.5 * side]) != before
    book.theme("JupyterLab Dark")
    page.mouse.move(bars["x"] + LABELS + (expert + 0.5) * cell, bars["y"] + 31)
    book.shot("routing-picture-dark", widget)
    book.theme("JupyterLab Light")

    second = explorer(book, 1)
    captions = second.locator(".gl-medium figcaption")
    expect(captions.nth(0)).to_contain_text("audio 1 · 50 tokens")
    expect(captions.nth(1)).to_contain_text("video 1 · 160 tokens")
    sound = second.get_by_test_id("medium").first.bounding_box()
    page.mouse.move(sound["x"] + sound["width"] * 0.5 + 1, sound["y"] + 10)
    expect(second.get_by_test_id("token")).to_contain_text("1.00 s")
    book.shot("routing-sound", second)
    book.check_quiet()


def test_hostile_tokens_stay_text(open_notebook: Callable[..., Notebook]) -> None:
    trace = hostile_trace()
    book = open_notebook(
        "from support.routing_traces import hostile_trace\nimport gemma_lab as gl\ngl.RoutingExplorer(hostile_trace())",
        height=1150,
    )
    book.run_all()
    widget, page = explorer(book), book.page
    assert widget.locator("img, script, style, iframe, b b").count() == 0
    assert widget.locator(".gl-name").text_content() == trace.meta["model"]
    text = widget.get_by_test_id("flow").text_content()
    for token in range(1, 7):
        assert trace.tokens.texts[token] in text
    for token in range(len(trace)):
        point(page, widget, token, 3, right=12)
        expect(widget.get_by_test_id("token")).to_contain_text(f"token {token} ")
    point(page, widget, 4, 3, right=12)
    expect(widget.get_by_test_id("token").locator("bdi")).to_contain_text("U+202Eevil")
    assert widget.evaluate("e => e.scrollWidth <= e.clientWidth")
    book.shot("routing-hostile", widget)
    book.check_quiet()


def test_ten_thousand_tokens_of_thirty_layers_answer_within_a_second(
    open_notebook: Callable[..., Notebook],
) -> None:
    book = open_notebook(
        "from support.routing_traces import long_trace\nimport gemma_lab as gl\nexplorer = gl.RoutingExplorer(long_trace(10_000), layer=3)",
        "explorer",
        "explorer.layer = 29",
        height=1150,
    )
    book.run(0)
    expect(book.page.locator(".jp-InputPrompt").first).to_have_text("[1]:", timeout=60_000)
    book.run(1)
    book.page.evaluate(FIRST_READOUT)
    widget = explorer(book)
    nodes = widget.evaluate(NODES)
    widget.get_by_test_id("flow").evaluate("e => { e.scrollTop = e.scrollHeight * .7; }")
    book.page.wait_for_timeout(200)
    nodes = max(nodes, widget.evaluate(NODES))
    assert nodes < 2000
    # Layers come from the kernel when they are wanted.
    book.run(2)
    expect(widget.locator(".gl-layer output")).to_contain_text("29 of 0–29")
    box = widget.get_by_test_id("heat").bounding_box()
    book.page.mouse.move(box["x"] + 300, box["y"] + 63)
    trace = long_trace(10_000)
    expect(widget.get_by_test_id("token")).to_contain_text("token 3 ")
    has_weights(widget, applied(trace, 29, 3))
    widget.get_by_test_id("heat").evaluate("e => { e.scrollTop = e.scrollHeight; }")
    book.page.mouse.move(box["x"] + 300, box["y"] + box["height"] - 5)
    expect(widget.get_by_test_id("token")).to_contain_text("token 9,999 ")
    has_weights(widget, applied(trace, 29, 9_999))
    book.shot("routing-long", widget)
    book.check_quiet()


def test_a_question_is_followed_and_an_expert_switched_off(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        "import gemma_lab as gl\n\nlab = gl.load('mini-moe', progress=False)\n"
        "explorer = gl.RoutingExplorer(lab.trace('What is 7 in German?', max_new_tokens=8), lab=lab)\nexplorer",
        "alone = lab.trace('Write 12 in Arabic.', max_new_tokens=64)\n"
        "print(alone.equal(explorer.trace), len(explorer.trace), explorer.layer, explorer.selected_experts)",
        "with lab.edit(ablate_experts={explorer.layer: explorer.selected_experts}):\n"
        "    edited = lab.trace('Write 12 in Arabic.', max_new_tokens=64)\n"
        "print(edited.generation.text == explorer.edited.generation.text, explorer.edit)",
        height=1400,
    )
    book.run(0)
    widget, page = explorer(book), book.page
    field = widget.get_by_role("textbox", name="Prompt")
    field.fill("Write 12 in Arabic.")
    field.press("Enter")
    expect(widget.get_by_test_id("flow")).to_contain_text("Write 12 in Arabic.", timeout=20_000)
    expect(widget.get_by_test_id("ask")).to_be_visible(timeout=20_000)
    hears(book, 1, re.compile(r"True \d+ 3 \[\]"))
    # The expert that serves most tokens is chosen from the card and switched off.
    page.mouse.move(5, 5)
    widget.get_by_test_id("expert").locator(".gl-strong").first.click()
    widget.get_by_test_id("ablate").click()
    compared = widget.get_by_test_id("compare")
    expect(compared).to_contain_text("prompt’s expert choices are the same", timeout=20_000)
    expect(compared).to_contain_text(re.compile(r"Without expert \d+ of layer 3"))
    expect(widget.get_by_test_id("ablate")).to_be_hidden()
    book.shot("routing-ablated", widget)
    hears(book, 2, re.compile(r"True Edit\(ablate_experts=\{3: \[\d+\]\}\)"))
    # Under the edit nobody goes to that expert.
    expert = int(re.search(r"expert (\d+)", compared.inner_text())[1])
    widget.get_by_test_id("shown").click()
    expect(widget.get_by_test_id("expert")).to_contain_text(f"Expert {expert}")
    expect(widget.get_by_test_id("expert")).to_contain_text("Served none of")
    book.theme("JupyterLab Dark")
    book.shot("routing-ablated-dark", widget)
    widget.get_by_test_id("restore").click()
    expect(compared).to_be_hidden()
    expect(widget.get_by_test_id("expert")).not_to_contain_text("Served none of")
    book.check_quiet()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_saved_page_is_alive_without_kernel_or_network(browser, tmp_path, theme: str) -> None:
    trace = picture_trace(layers=4)
    made = RoutingExplorer(trace, layer=2)
    made.selected_experts = [5]
    saved = made.to_html(tmp_path / "explorer.html")
    context = browser.new_context(offline=True, color_scheme=theme, viewport={"width": 1180, "height": 1000})
    page, errors, asked = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(saved.as_uri())
    widget = page.locator(".gl-routing")
    expect(widget.get_by_test_id("expert")).to_contain_text("Expert 5")
    expect(widget).to_have_attribute("data-theme", theme)
    point(page, widget, 1, 9)
    expect(widget.get_by_test_id("token")).to_contain_text("token 1 ")
    has_weights(widget, applied(trace, 2, 1))
    widget.get_by_test_id("layer").fill("0")
    point(page, widget, 3, 9)
    expect(widget.get_by_test_id("token")).to_contain_text("token 3 ")
    has_weights(widget, applied(trace, 0, 3))
    expect(widget.get_by_test_id("ablate")).to_be_hidden()
    expect(widget.get_by_test_id("ask")).to_be_hidden()
    # Nothing can be loaded or run from the page, even by a script that got in.
    blocked = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "window.stolen = 1";
          document.body.append(script);
        })"""
    )
    assert blocked.startswith("script-src")
    assert page.evaluate("window.stolen") is None
    assert [error for error in errors if "Content Security Policy" not in error] == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    context.close()


def test_a_saved_page_without_scripts_shows_the_twin(browser, tmp_path) -> None:
    for made in (arabic_trace(), sound_trace()):
        saved = RoutingExplorer(made).to_html(tmp_path / "explorer.html")
        context = browser.new_context(java_script_enabled=False, offline=True)
        page = context.new_page()
        page.goto(saved.as_uri())
        assert re.search(r"mini-moe: layer 3", page.inner_text("main"))
        assert page.locator("main img").count() >= 2
        context.close()
