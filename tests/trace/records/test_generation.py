"""What was generated: arrays of one length, values that a distribution can have."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_lab.errors import BadTrace
from gemma_lab.models.chat.request import MAX_TOP_LOGPROBS
from gemma_lab.trace.records.generation import MOST_TOP_LOGPROBS, Generation

GIVEN = {
    "ids": [4, 9, 1],
    "logprobs": [-0.1, -2.0, -0.5],
    "entropy": [0.2, 2.5, 0.0],
    "alternative_ids": [[4, 5], [8, 9], [1, 4]],
    "alternative_logprobs": [[-0.1, -3.0], [-1.0, -2.0], [-0.5, -np.inf]],
    "finish_reason": "stop",
    "text": "ab",
}
#: A grammar bound the first two tokens and overruled the second.
BOUND = {
    "forbidden": [0.0, 0.75, np.nan],
    "first_choice_ids": [4, 3, -1],
    "overruled": [False, True, False],
}


def test_a_grammar_is_kept_and_its_absence_too():
    free, bound = Generation.of(**GIVEN), Generation.of(**GIVEN | BOUND)
    assert np.isnan(free.forbidden).all()
    assert (free.first_choice_ids == -1).all()
    assert not free.overruled.any()
    assert bound == Generation.of(**GIVEN | BOUND)
    assert bound != free
    assert bound != Generation.of(**GIVEN | BOUND | {"forbidden": [0.0, 0.5, np.nan]})
    assert bound != Generation.of(**GIVEN | BOUND | {"overruled": [False] * 3})
    assert bound.forbidden.dtype == np.float32
    assert bound.first_choice_ids.dtype == np.int32


def test_anything_that_numpy_takes_becomes_arrays():
    made = Generation.of(**GIVEN)
    assert made.ids.dtype == made.alternative_ids.dtype == np.int32
    assert made.logprobs.dtype == made.entropy.dtype == made.alternative_logprobs.dtype == np.float32
    assert (len(made), made.top_logprobs) == (3, 2)
    assert repr(made) == "Generation(3 tokens, stop: 'ab')"


def test_equality_is_of_values():
    assert Generation.of(**GIVEN) == Generation.of(**GIVEN)
    for name, other in (
        ("ids", [4, 9, 2]),
        ("text", "ac"),
        ("finish_reason", "length"),
        ("entropy", [0, 0, 0]),
    ):
        assert Generation.of(**GIVEN) != Generation.of(**GIVEN | {name: other})
    assert Generation.of(**GIVEN) != 3


def test_nothing_generated_and_no_alternatives_are_fine():
    empty = dict.fromkeys(("ids", "logprobs", "entropy", "alternative_ids", "alternative_logprobs"), ()) | {
        "finish_reason": "length",
        "text": "",
    }
    assert (len(Generation.of(**empty)), Generation.of(**empty).top_logprobs) == (0, 0)
    bare = GIVEN | {"alternative_ids": [[], [], []], "alternative_logprobs": [[], [], []]}
    assert Generation.of(**bare).alternative_ids.shape == (3, 0)


def test_a_long_answer_is_shortened_in_its_repr():
    assert len(repr(Generation.of(**GIVEN | {"text": "x" * 5000}))) < 120


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logprobs": [-0.1, -2.0]}, "logprobs has shape"),
        ({"entropy": [0.2] * 4}, "entropy has shape"),
        ({"alternative_logprobs": [[-0.1], [-1.0], [-0.5]]}, "alternative_logprobs has shape"),
        ({"logprobs": [-0.1, np.nan, -0.5]}, "log-probabilities"),
        ({"logprobs": [-0.1, 0.5, -0.5]}, "log-probabilities"),
        ({"alternative_logprobs": [[-0.1, np.nan], [-1.0, -2.0], [-0.5, -1.0]]}, "log-probabilities"),
        ({"logprobs": [-0.1, -np.inf, -0.5]}, "-inf"),
        ({"ids": [4, -9, 1]}, "negative"),
        ({"alternative_ids": [[4, 5], [8, -9], [1, 4]]}, "negative"),
        ({"alternative_logprobs": [[-3.0, -0.1], [-1.0, -2.0], [-0.5, -1.0]]}, "best first"),
        ({"finish_reason": "bored"}, "bored"),
        ({"entropy": [0.2, -1.0, 0.0]}, "entropies"),
        ({"entropy": [0.2, np.inf, 0.0]}, "entropies"),
        ({"forbidden": [0.1] * 4}, "forbidden has shape"),
        ({"first_choice_ids": [1]}, "first_choice_ids has shape"),
        ({"overruled": [True]}, "overruled has shape"),
        ({**BOUND, "forbidden": [1.5, 0.5, np.nan]}, "forbidden"),
        ({**BOUND, "forbidden": [-0.5, 0.5, np.nan]}, "forbidden"),
        ({**BOUND, "first_choice_ids": [4, -1, -1]}, "first choice"),
        ({**BOUND, "first_choice_ids": [4, 3, 2]}, "first choice"),
        ({**BOUND, "first_choice_ids": [4, 3, -2]}, "first choice"),
        ({**BOUND, "overruled": [True, True, False]}, "overruled"),
        ({**BOUND, "overruled": [False, True, True]}, "overruled"),
    ],
)
def test_what_no_distribution_gives_is_refused(change, said):
    with pytest.raises(BadTrace, match=said):
        Generation.of(**GIVEN | change)


def test_a_request_may_ask_for_as_many_alternatives_as_a_file_holds():
    assert MAX_TOP_LOGPROBS == MOST_TOP_LOGPROBS
