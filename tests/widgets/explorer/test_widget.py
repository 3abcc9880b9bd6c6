from __future__ import annotations

import dataclasses
import re
import time

import numpy as np
import pytest
import traitlets
from support.attention_traces import arabic, behind, with_features
from support.routing_traces import arabic_trace, picture_trace

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError
from gemma_lab.widgets.explorer.widget import Explorer
from gemma_lab.widgets.shared.bundle import bundle
from gemma_lab.widgets.shared.wire import unpack


class Lab:
    """Answers every question with the same trace."""

    def __init__(self, answer) -> None:
        self.answer, self.asked = answer, []

    def trace(self, prompt, **options):
        self.asked.append((prompt, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_one_of_the_three_is_enough_and_none_is_refused() -> None:
    whole = gl.Explorer(behind(arabic_trace()))
    assert whole._facts["records"] == ["attention", "routing", "logit_lens"]
    assert Explorer(arabic_trace())._facts["records"] == ["routing"]
    with pytest.raises(BadTrace, match="neither attention nor routing"):
        Explorer(dataclasses.replace(arabic_trace(), routing=None))
    assert "\n" not in repr(whole)


def test_a_selection_is_checked_heard_and_linked_with_other_explorers() -> None:
    trace = behind(arabic_trace())
    one, other = Explorer(trace), gl.AttentionExplorer(trace)
    traitlets.link((one, "selected_tokens"), (other, "selected_tokens"))
    one._receive(one, {"type": "select", "view": "a", "seq": 2, "tokens": [30, 31]}, [])
    assert other.selected_tokens == [30, 31]
    assert one._ack == {"view": "a", "seq": 2}
    with pytest.raises(LabError, match="no token 39"):
        one.selected_tokens = [39]


def test_a_question_is_traced_with_everything_and_shown() -> None:
    lab = Lab(behind(picture_trace()))
    explorer = Explorer(behind(arabic_trace()), lab=lab)
    explorer.selected_tokens = [30]
    assert explorer._can_run
    trace = explorer.ask("What is left?", max_new_tokens=4, logit_lens=False)
    assert lab.asked == [("What is left?", {"max_new_tokens": 4, "attention": True, "logit_lens": False})]
    assert explorer.trace is trace
    assert (explorer._facts["tokens"], explorer.selected_tokens, explorer.busy) == (215, [], False)
    assert unpack(explorer._summary)[0]["rows"].size == 215
    assert len(explorer._images) == 1
    with pytest.raises(LabError, match="no model"):
        Explorer(arabic_trace()).ask("Why?")


@pytest.mark.parametrize("broken", [LabError("Too long."), ValueError("odd")])
def test_what_goes_wrong_in_the_background_is_shown(broken) -> None:
    explorer = Explorer(behind(arabic_trace()), lab=Lab(broken))
    explorer._receive(explorer, {"type": "ask", "text": "  "}, [])
    assert "empty" in explorer._notice["what"]
    explorer._receive(explorer, {"type": "ask", "text": "Why?"}, [])
    for _ in range(100):
        if explorer._notice["count"] == 2:
            break
        time.sleep(0.02)
    assert explorer._notice["what"] in ("Too long.", "ValueError: odd")
    assert (explorer.error is broken) == isinstance(broken, ValueError)


def test_the_page_is_whole_and_the_program_one_module(tmp_path) -> None:
    page = Explorer(behind(picture_trace())).to_html(tmp_path / "a.html").read_text()
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    assert not re.search(r'(src|href)="(?!data:)', page)
    program = bundle("explorer/explorer_page.js")
    names = re.findall(r"^(?:async )?(?:class|function|const|let) (\w+)", program, re.MULTILINE)
    assert len(names) == len(set(names))
    html, text = Explorer(arabic())._static_fallback()
    assert "<script" not in html
    assert text.startswith("mini-moe: 39 tokens with attention, routing")


def test_a_feature_tints_and_is_checked() -> None:
    trace = with_features(behind(arabic_trace()))
    explorer = Explorer(trace)
    buffer, meta = unpack(explorer._summary)
    facts = meta["features"]
    assert facts["fits"]
    assert facts["explained"] == pytest.approx(trace.features.variance_explained)
    ids, values = buffer["feature_ids"][:, 0], buffer["feature_values"][:, 0] / 65535 * facts["top"]
    assert ids[3] == 7
    np.testing.assert_allclose(values, trace.features.activations[:, 0], atol=1e-3)
    explorer._receive(explorer, {"type": "select", "view": "a", "seq": 1, "tokens": [3], "feature": 7}, [])
    assert explorer.feature == 7
    assert "feature 7" in explorer._static_fallback()[0]
    with pytest.raises(LabError, match="feature"):
        explorer.feature = 10
    explorer._receive(explorer, {"type": "select", "view": "a", "seq": 2, "tokens": [], "feature": 99}, [])
    assert explorer._ack["seq"] == 2
    assert explorer.feature == 7


def test_features_of_a_bad_fit_are_neither_sent_nor_tinted() -> None:
    poor = Explorer(with_features(behind(arabic_trace()), total_variance=0.01))
    buffer, meta = unpack(poor._summary)
    assert not meta["features"]["fits"]
    assert "feature_ids" not in buffer
    with pytest.raises(LabError, match="not interpreted"):
        poor.feature = 7
    assert "not interpreted" in poor._static_fallback()[0]
    with pytest.raises(LabError, match="no SAE"):
        Explorer(behind(arabic_trace())).feature = 7
