"""The lens on a page: escaped, isolated, legible, without scripts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.routing_traces import picture_trace

from gemma_lab.errors import BadTrace, LabError
from gemma_lab.trace.records.logit_lens import LogitLens
from gemma_lab.views.trace.logit_lens import logit_lens_figure, logit_lens_html, logit_lens_text

WORDS = {1: "<script>", 2: "قط", 3: " cat"}


@pytest.fixture
def trace():
    hide_frame = picture_trace(layers=2, experts=16, top_k=3)
    ids = np.asarray([[[1, 2], [2, 3]], [[2, 1], [3, 2]], [[2, 1], [3, 1]]], dtype=np.int32)
    logprobs = np.log(np.broadcast_to(np.asarray([0.75, 0.25]), ids.shape)).astype(np.float32)
    targets = np.asarray([[2, 1], [3, 1]], dtype=np.int32)
    ranks = np.asarray([[[1, 0], [1, 5]], [[0, 1], [0, 3]], [[0, 1], [0, 1]]], dtype=np.int32)
    logit_lens = LogitLens(
        layers=(0, 1, 2), positions=np.asarray([0, 3], dtype=np.int32), ids=ids, logprobs=logprobs,
        target_ids=targets, ranks=ranks, target_logprobs=-ranks.astype(np.float32) - 0.1, token_texts=WORDS,
    )  # fmt: skip
    return replace(hide_frame, logit_lens=logit_lens)


def test_the_page_is_escaped_and_isolated(trace):
    page = logit_lens_html(trace)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert '<bdi dir="auto"' in page
    assert page.count("<tr>") == 4
    assert page.index(">2</th>") < page.index(">0</th>")  # the last layer is above
    assert "font-weight:700" in page


def test_tokens_of_white_space_are_seen_and_the_lens_is_named(trace):
    lens = replace(trace.logit_lens, token_texts={**WORDS, 3: "\n"}, kind="jacobian")
    page = logit_lens_html(replace(trace, logit_lens=lens))
    assert ">↵</bdi>" in page
    assert ": Jacobian lens, " in page


def test_the_text_says_from_where_the_answer_stands(trace):
    text = logit_lens_text(trace)
    for part in ("3 layers × 2 positions", "' cat'", "layer 1"):
        assert part in text


def test_only_what_was_looked_at_is_shown(trace):
    assert logit_lens_html(trace, positions=[3]).count('scope="col"') == 2
    with pytest.raises(LabError, match="token 1"):
        logit_lens_html(trace, positions=[1])
    with pytest.raises(BadTrace, match="no logit lens"):
        logit_lens_html(replace(trace, logit_lens=None))


def test_lines_have_a_curve_a_target(trace):
    picture = logit_lens_figure(trace.logit_lens, 3)
    left, right = picture.figure.axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[2, 1, 1], [6, 4, 2]]
    assert len(right.lines) == 2
    for part in ("' cat' rank 2 → 1, probability 0.905", "'<script>' rank 6 → 2, probability 0.333"):
        assert part in picture.text


def test_a_lens_that_contradicts_itself_is_refused(trace):
    with pytest.raises(BadTrace, match="logprobs"):
        replace(trace.logit_lens, logprobs=trace.logit_lens.logprobs + 9)
    with pytest.raises(BadTrace, match="do not ascend"):
        replace(trace.logit_lens, positions=trace.logit_lens.positions[::-1])
    with pytest.raises(BadTrace, match="token 1"):
        replace(trace.logit_lens, token_texts={})
    with pytest.raises(LabError, match="dog"):
        trace.logit_lens.rank("dog")
    assert trace.logit_lens.rank("<script>").tolist() == trace.logit_lens.rank(1).tolist()
