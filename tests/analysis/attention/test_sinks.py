"""A sink draws attention from everywhere; a token that is often looked at from near does not."""

from __future__ import annotations

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.sinks import attention_sinks
from gemma_lab.errors import LabError

COUNT = 100


def test_the_first_token_and_another():
    heads = [looking(COUNT, [0] * COUNT, share=0.7), looking(COUNT, [9] * COUNT, share=0.5), even(COUNT),
             looking(COUNT, np.arange(COUNT) - 1)]  # fmt: skip
    found = attention_sinks(trace_of(build_attention([heads])))
    assert found.tokens == (0, 9)
    assert found.pieces == ("<0>", "<9>")
    assert found.share.tolist() == [0.25, 0.25]
    assert found.heads_with_sink == 0.5
    assert found.received[0, 0] == pytest.approx(0.7, abs=0.02)
    assert found.first[0] == pytest.approx(0.7, abs=0.02)
    assert repr(found).startswith("AttentionSinks(2 of 100 tokens")
    assert found.to_pandas().shape == (8, 5)


def test_the_mean_is_over_those_that_see_it():
    """In a window of 20, token 9 is seen by 19 later ones."""
    places = np.where((np.arange(COUNT) >= 10) & (np.arange(COUNT) < 29), 9, -1)
    found = attention_sinks(trace_of(build_attention([[looking(COUNT, places, window=20)]], windows=[20])))
    assert found.tokens == (9,)
    assert found.received[0, 0] == pytest.approx(0.9, abs=0.02)


def test_a_token_that_few_can_see_is_no_sink():
    """Only the last token sees the one before it: what it does says nothing of everywhere."""
    found = attention_sinks(trace_of(build_attention([[looking(COUNT, np.arange(COUNT) - 1)]])))
    assert found.tokens == ()
    assert found.heads_with_sink == 0.0


def test_the_last_quarter_is_not_everywhere():
    """Twenty of a hundred tokens see it: that is the end of a text, not a sink."""
    late = looking(COUNT, np.where(np.arange(COUNT) > 79, 79, -1))
    early = looking(COUNT, np.where(np.arange(COUNT) > 60, 60, -1))
    assert attention_sinks(trace_of(build_attention([[late, early]]))).tokens == (60,)


def test_a_short_text_is_not_judged():
    with pytest.raises(LabError, match="16 tokens are too few"):
        attention_sinks(trace_of(build_attention([[even(16)]])))
