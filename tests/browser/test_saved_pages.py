"""Saved explorers in a real browser: each is drawn from its file alone, and its policy lets nothing be loaded."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from support.attention_traces import arabic, attended, behind, picture
from support.routing_traces import arabic_trace, picture_trace

import gemma_lab as gl

#: Tries to load, to send and to evaluate; returns what succeeded.
ATTEMPTS = """async () => {
  const done = [];
  await fetch("http://127.0.0.1:9/").then(() => done.push("fetch"), () => {});
  await import("data:text/javascript,export default 1").then(() => done.push("import"), () => {});
  try { new Function("return 1")(); done.push("evaluation"); } catch {}
  const script = document.createElement("script");
  script.textContent = "window.ran = true";
  document.head.append(script);
  if (window.ran) done.push("inline script");
  return done;
}"""


@pytest.mark.parametrize("kind", ["RoutingExplorer", "AttentionExplorer", "Explorer"])
def test_a_saved_page_loads_nothing_and_lets_nothing_be_loaded(browser, tmp_path, kind: str) -> None:
    traces = {
        "RoutingExplorer": picture_trace(),
        "AttentionExplorer": picture(),
        "Explorer": behind(attended(arabic_trace(), arabic().attention)),
    }
    path = getattr(gl, kind)(traces[kind]).to_html(tmp_path / "page.html")
    context = browser.new_context()
    page, errors, requested = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: requested.append(request.url))
    page.goto(path.as_uri())
    expect(page.locator("section.gl canvas, section.gl .gl-tok").first).to_be_visible()
    assert errors == []
    assert requested == [path.as_uri()]
    assert page.locator("meta[http-equiv='Content-Security-Policy']").count() == 1
    # Playwright evaluates in the page's world, so these attempts are the page's own
    assert page.evaluate(ATTEMPTS) == []
    assert [url for url in requested if url.startswith("http")] == []
    context.close()
