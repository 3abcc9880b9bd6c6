"""How generated tokens were drawn, as the explorers get it, against the trace's own record."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import gemma_lab as gl
from gemma_lab.widgets.shared.draws import draw_arrays
from gemma_lab.widgets.shared.wire import token_buffer, unpack
from gemma_lab.widgets.shared.wire_types import BUFFERS

SCHEMA = {
    "type": "object",
    "properties": {"zq": {"enum": [7, 8]}},  # no model answers so by itself
    "required": ["zq"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", progress=False)


@pytest.fixture(scope="module")
def trace(mini):
    return mini.trace("How is the sky? It is blue.", schema=SCHEMA, max_new_tokens=24)


def texts(arrays) -> list[str]:
    data = bytes(arrays["first_choice"])
    ends = [0, *arrays["first_choice_ends"].tolist()]
    return [data[start:end].decode() for start, end in itertools.pairwise(ends)]


def test_each_generated_row_has_its_draw(mini, trace) -> None:
    arrays = draw_arrays(trace, mini)
    rows = arrays["draw_tokens"]
    generation = trace.generation
    assert rows.tolist() == np.flatnonzero(trace.tokens.generated).tolist()
    assert len(rows) == len(generation) - 1  # the last token was not read
    np.testing.assert_array_equal(trace.tokens.ids[rows], generation.ids[:-1])
    np.testing.assert_array_equal(arrays["logprob"], generation.logprobs[:-1])
    np.testing.assert_array_equal(arrays["forbidden"], generation.forbidden[:-1])
    np.testing.assert_array_equal(arrays["overruled"], generation.overruled[:-1])
    assert arrays["overruled"].any()
    for name, overruled, first in zip(
        texts(arrays), generation.overruled, generation.first_choice_ids, strict=False
    ):
        assert bool(name) == bool(overruled)
        if overruled:
            assert name == mini.processor.tokenizer.decode([int(first)]) or name in set(trace.tokens.pieces)
    sent, _ = unpack(token_buffer(trace.tokens, draws=arrays))
    assert {name: str(array.dtype) for name, array in sent.items()} == {
        name: kinds[0] for name, kinds in BUFFERS["TokenBuffer"].items()
    }


def test_an_unknown_first_choice_has_its_number(trace) -> None:
    generation = trace.generation
    place = int(np.flatnonzero(generation.overruled[:-1])[0])
    first = generation.first_choice_ids.copy()
    first[place] = 4_999_999
    other = replace(trace, generation=replace(generation, first_choice_ids=first), logit_lens=None)
    assert texts(draw_arrays(other))[place] == "<id 4999999>"


def test_a_prompt_alone_has_no_draws(mini, trace) -> None:
    assert draw_arrays(mini.trace("Hi")) == {}
    assert draw_arrays(replace(trace, generation=None)) == {}
