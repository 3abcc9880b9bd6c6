"""One look, used in a browser: a token of the answer, and everything behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from playwright.sync_api import expect
from support.attention_traces import behind
from support.pages import PIXEL, open_saved
from support.routing_traces import picture_trace, sound_trace

from gemma_lab.widgets.explorer.widget import Explorer

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Locator, Page

    from conftest import Notebook

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"


def saved(browser: Browser, path: Path, **options: object) -> tuple[Page, list[str]]:
    page, errors = open_saved(browser, path, height=1100, **options)
    expect(page.get_by_test_id("behind")).to_contain_text("Point at", timeout=30_000)
    return page, errors


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.locator(".gl-look").screenshot(path=str(SHOTS / f"{name}.png"))


def shares(panel: Locator) -> list[float]:
    rows = panel.locator(".gl-weight:not(.gl-none) > span:last-child").all_inner_texts()
    return [float(row.removesuffix(" %")) / 100 for row in rows]


def test_an_answer_token_shows_the_patch_the_heads_the_words_and_the_experts_behind_it(
    browser: Browser, tmp_path: Path
) -> None:
    trace = behind(picture_trace(), window=4096)
    page, errors = saved(browser, Explorer(trace).to_html(tmp_path / "a.html"))
    token = int(np.flatnonzero(trace.tokens.texts == " disc")[0])
    row = token - 1
    medium = page.get_by_test_id("medium")
    page.wait_for_timeout(300)
    means = np.zeros(len(trace))
    for layer in range(6):
        keys, weights = (each[:, row] for each in trace.attention.top_keys(layer))
        np.add.at(means, keys[keys >= 0], weights[keys >= 0] / 24)
    image = np.flatnonzero(trace.tokens.modalities == "image")
    patch = int(image[means[image].argmax()])
    x0, y0, x1, y1 = trace.tokens.boxes[patch] / 768 * medium.bounding_box()["width"]
    place = [medium.element_handle(), float(x0 + x1) / 2, float(y0 + y1) / 2]
    before = page.evaluate(PIXEL, place)
    page.locator(f".gl-tok[data-t='{token}']").hover()
    expect(page.get_by_test_id("behind")).to_contain_text(f"token {token}, decided by the row of")
    assert page.evaluate(PIXEL, place) != before
    looks = page.get_by_test_id("attended")
    assert shares(looks) == pytest.approx(np.sort(means)[::-1][:6].tolist(), rel=0.06)
    found = max(
        (float(w), layer, head, int(k))
        for layer in range(6)
        for head in range(4)
        for k, w in zip(*(each[head, row] for each in trace.attention.top_keys(layer)), strict=True)
        if k > 0
    )
    expect(looks.locator(".gl-single-look").first).to_contain_text(f"layer {found[1]}, head {found[2]}")
    logit_lens = page.get_by_test_id("lens").locator(".gl-lens-row")
    expect(logit_lens.first).to_contain_text("␣seven")
    expect(logit_lens.last).to_contain_text("<img src=x onerror=alert(9)>")
    assert page.get_by_test_id("lens").locator("img").count() == 0
    one = trace.routing.layer(5)
    expect(page.get_by_test_id("experts")).to_contain_text(
        f"expert {one.ids[0, row][one.weights[0, row].argmax()]}"
    )
    shot(page, "one-look-picture")
    # Kept, and only one layer of it.
    page.locator(f".gl-tok[data-t='{token}']").click()
    logit_lens.nth(2).hover()  # layer 3
    keys, weights = (each[:, row] for each in trace.attention.top_keys(3))
    mean = np.zeros(len(trace))
    np.add.at(mean, keys[keys >= 0], weights[keys >= 0] / 4)
    expect(looks).to_contain_text("mean of all heads of layer 3")
    assert shares(looks) == pytest.approx(
        [one for one in np.sort(mean)[::-1][:6].tolist() if one > 1e-4], rel=0.06
    )
    three = trace.routing.layer(3)
    expect(page.get_by_test_id("experts")).to_contain_text(
        f"layer 3: expert {three.ids[0, row][three.weights[0, row].argmax()]}"
    )
    assert errors == []


def test_sounds_the_keyboard_the_dark_and_a_narrow_page(browser: Browser, tmp_path: Path) -> None:
    trace = behind(sound_trace())
    page, errors = saved(browser, Explorer(trace).to_html(tmp_path / "a.html"), color_scheme="dark")
    page.get_by_test_id("flow").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("behind")).to_contain_text("token 5 · user · audio · 0.00 s, its own row")
    expect(page.get_by_role("status").last).to_contain_text("attends to")
    page.keyboard.press("Enter")
    answer = page.locator(".gl-tok", has_text="Seven")
    answer.hover()
    expect(page.locator(".gl-medium figcaption").first).to_contain_text("of the row by its top keys")
    shot(page, "one-look-sound-dark")
    page.set_viewport_size({"width": 430, "height": 1400})
    page.wait_for_timeout(300)
    assert page.locator(".gl-look").evaluate("e => e.scrollWidth <= e.clientWidth")
    shot(page, "one-look-narrow")
    assert errors == []


def test_asking_shows_the_next_answer(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        "from support.attention_traces import behind\nfrom support.routing_traces import arabic_trace, picture_trace\nimport gemma_lab as gl\n"
        "class Lab:\n    def trace(self, prompt, **options):\n        return behind(picture_trace())\n"
        "explorer = gl.Explorer(behind(arabic_trace()), lab=Lab())\nexplorer",
        "print(explorer.selected_tokens, len(explorer.trace))",
        height=1100,
    )
    book.run(0)
    widget = book.page.locator(".gl-look")
    expect(widget.locator(".gl-facts")).to_contain_text(
        "39 tokens · attention, routing, logit lens", timeout=60_000
    )
    book.shot("one-look-arabic", widget)
    widget.locator("textarea").fill("What is left of the square?")
    widget.get_by_test_id("ask").click()
    expect(widget.locator(".gl-facts")).to_contain_text("215 tokens", timeout=30_000)
    widget.locator(".gl-tok[data-t='210']").click()
    printed = book.page.locator(".jp-Cell").nth(1).locator(".jp-OutputArea-output pre")
    for _ in range(10):
        book.run(1)
        book.page.wait_for_timeout(400)
        if printed.count() and printed.last.inner_text().strip() == "[210] 215":
            break
    expect(printed.last).to_have_text("[210] 215")
    book.check_quiet()


SLIDER = """import gemma_lab as gl
lab = gl.load("mini-moe", progress=False)
german = lab.direction(["Write 12 in German words."], ["Write 12 in French words."], layers=[2], name="German − French")
trace = lab.trace("Write 31 in French words.", max_new_tokens=6, logit_lens=True)
explorer = gl.Explorer(trace, lab=lab, steer=german)
explorer"""


def test_a_slider_steers_with_the_keyboard(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        SLIDER, "print(explorer.strength, len(explorer.trace.meta['edit']['steer']))", height=1200
    )
    book.run(0)
    widget = book.page.locator(".gl-look")
    slider = widget.get_by_test_id("strength")
    expect(widget.locator(".gl-strength")).to_contain_text("along German − French", timeout=120_000)
    expect(widget.get_by_test_id("strength-value")).to_have_text("0")
    slider.focus()
    book.page.keyboard.press("End")
    expect(widget.get_by_test_id("strength-value")).to_have_text("+4")
    expect(slider).to_be_enabled(timeout=60_000)
    book.shot("explorer-steered", widget)
    printed = book.page.locator(".jp-Cell").nth(1).locator(".jp-OutputArea-output pre")
    for _ in range(20):
        book.run(1)
        book.page.wait_for_timeout(500)
        if printed.count() and printed.last.inner_text().strip() == "4.0 1":
            break
    expect(printed.last).to_have_text("4.0 1")
    book.check_quiet()
