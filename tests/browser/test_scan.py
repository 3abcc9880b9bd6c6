"""A saved scan and the tint by a feature in a real browser."""

from __future__ import annotations

from playwright.sync_api import expect
from support.attention_traces import arabic, attended, behind, with_features
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.analysis.attention.head_types import classify_heads
from gemma_lab.evals.scan.scan import Scan, UncertainToken


def opened(browser, path):
    """Return a page and the errors that it reports."""
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    expect(page.locator("section.gl .gl-tok").first).to_be_visible()
    return page, errors


def test_a_finding_selects_its_tokens(browser, tmp_path) -> None:
    trace = behind(attended(arabic_trace(), arabic().attention))
    row = len(trace) - 1
    scan = Scan(
        trace=trace, uncertain=(UncertainToken(row, "<b>x</b>", 0.4, 1.0, ()),), sinks=None,
        heads=classify_heads(trace), load=None, depth=None, knockouts=(), skipped={}, vocabulary=9, draws=0,
        seed=0,
    )  # fmt: skip
    page, errors = opened(browser, gl.ScanExplorer(scan).to_html(tmp_path / "scan.html"))
    cards = page.get_by_test_id("finding")
    expect(cards).to_have_count(len(scan.findings))
    card = cards.filter(has_text="Uncertain tokens")
    expect(card).to_contain_text("<b>x</b>")  # text, no markup
    card.get_by_role("button").click()
    expect(page.get_by_test_id("behind")).to_contain_text(f"token {row}")
    assert errors == []
    page.close()


def test_a_click_on_a_feature_tints_the_text(browser, tmp_path) -> None:
    trace = with_features(behind(attended(arabic_trace(), arabic().attention)))
    explorer = gl.Explorer(trace)
    explorer.selected_tokens = [next(at for at in range(3, len(trace), 3) if not trace.tokens.generated[at])]
    page, errors = opened(browser, explorer.to_html(tmp_path / "features.html"))
    explained = f"{trace.features.variance_explained:.3f}"
    expect(page.get_by_test_id("feature-fit")).to_contain_text(f"Variance explained {explained}")
    feature = page.get_by_test_id("feature").first
    expect(feature).to_contain_text("7")
    feature.click()
    expect(page.get_by_test_id("tone")).to_have_value("feature")
    expect(page.get_by_test_id("feature-note")).to_contain_text("feature 7: in")
    expect(feature).to_have_attribute("aria-pressed", "true")
    feature.click()
    expect(page.get_by_test_id("tone")).to_have_value("attention")
    assert errors == []
    page.close()


def test_a_bad_fit_offers_no_feature(browser, tmp_path) -> None:
    trace = with_features(behind(attended(arabic_trace(), arabic().attention)), total_variance=0.01)
    page, errors = opened(browser, gl.Explorer(trace).to_html(tmp_path / "bad.html"))
    expect(page.get_by_test_id("feature-fit")).to_contain_text("not interpreted")
    expect(page.get_by_test_id("feature")).to_have_count(0)
    assert "feature" not in page.get_by_test_id("tone").evaluate("one => [...one.options].map(o => o.value)")
    assert errors == []
    page.close()
