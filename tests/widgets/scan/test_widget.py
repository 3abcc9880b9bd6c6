from __future__ import annotations

import dataclasses

import pytest
from support.attention_traces import behind
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.analysis.attention.head_types import classify_heads
from gemma_lab.errors import LabError
from gemma_lab.evals.scan.scan import Scan


@pytest.fixture(scope="module")
def scan() -> Scan:
    trace = behind(arabic_trace())
    return Scan(
        trace=trace, uncertain=(), sinks=None, heads=classify_heads(trace), load=None, depth=None,
        knockouts=(), skipped={"sinks": "too short"}, vocabulary=100, draws=0, seed=0,
    )  # fmt: skip


def test_findings_are_sent_with_their_tokens(scan) -> None:
    widget = gl.ScanExplorer(scan)
    assert [one["name"] for one in widget._findings] == [one.name for one in scan.findings]
    assert widget._findings[0]["tokens"] == list(scan.findings[0].tokens)
    assert widget.trace is scan.trace
    assert widget.scan is scan
    assert "\n" not in repr(widget)


def test_a_page_holds_the_findings_and_the_explorer(scan, tmp_path) -> None:
    text = gl.ScanExplorer(scan).to_html(tmp_path / "scan.html").read_text(encoding="utf-8")
    assert '"_findings"' in text
    assert "Attention sinks" in text
    assert "class ExplorerView" in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_the_fallback_is_the_page_of_the_scan(scan) -> None:
    html, text = gl.ScanExplorer(scan)._static_fallback()
    assert "Attention sinks" in html
    assert "<script" not in html
    assert "Attention sinks" in text


def test_asking_scans_again(scan) -> None:
    class Lab:
        def trace(self, *_, **__):
            raise AssertionError

        def scan(self, prompt, **options):
            self.asked = prompt, options
            return dataclasses.replace(scan, vocabulary=7)

    lab = Lab()
    widget = gl.ScanExplorer(scan, lab=lab)
    assert widget.ask("Why?") is scan.trace
    assert lab.asked[0] == "Why?"
    assert widget.scan.vocabulary == 7


def test_anything_else_is_refused(scan) -> None:
    for wrong in (scan.trace, None, "scan.html"):
        with pytest.raises(LabError, match="ScanExplorer"):
            gl.ScanExplorer(wrong)
