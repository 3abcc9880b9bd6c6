"""A retrieval score counts what was copied from where the answer stands, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.retrieval_heads import AnswerSpan, locate_answer, retrieval_scores
from gemma_lab.errors import LabError

#: Prompt of 10 tokens, then an answer of two that are read, and one that is not.
IDS = np.asarray([0, 1, 2, 7, 8, 3, 7, 4, 5, 6, 7, 8])


@dataclass(frozen=True)
class Ask:
    prompt: str
    answer: str


def copying(*places):
    """A head that looks at a key at each of the three steps of the answer."""
    return looking(12, [-1] * 9 + list(places))


def scores(*heads, needle=(3, 5), said=(7, 8, 9)):
    return retrieval_scores(
        [trace_of(build_attention([list(heads)]), ids=IDS, said=said)], [AnswerSpan(*needle)]
    )


def test_all_half_and_nothing_of_an_answer():
    found = scores(copying(3, 4, 0), copying(3, 0, 0), copying(6, 8, 0), copying(4, 3, 0), even(12))
    assert found.scores.tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert found.best(2) == ((0, 0), (0, 1))


def test_the_same_token_elsewhere_does_not_count():
    """Token 7 stands at 6 too: it is the one that is said, but not where the answer is."""
    assert scores(copying(6, 4, 0)).scores.tolist() == [0.5]


def test_a_space_before_makes_no_other_token():
    trace = trace_of(build_attention([[copying(3, 4, 0)]]), ids=[0, 1, 2, 70, 8, 3, 6, 4, 5, 6, 7, 8],
                     said=(7, 8, 9))  # fmt: skip
    trace.tokens.pieces[[3, 10]] = ["▁stone", "stone"]
    assert retrieval_scores([trace], [AnswerSpan(3, 5)]).scores.tolist() == [1.0]


def test_a_word_in_smaller_pieces_is_copied_by_its_first():
    """The text has "▁drum", the answer "d", "rum": what begins a word is copied from it, what ends it not."""
    trace = trace_of(build_attention([[copying(3, 3, 0), copying(0, 3, 0)]]), ids=[*IDS[:10], 30, 31],
                     said=(30, 31, 9))  # fmt: skip
    trace.tokens.pieces[[3, 10, 11]] = ["▁drum", "d", "rum"]
    assert retrieval_scores([trace], [AnswerSpan(3, 4)]).scores.tolist() == [1.0, 0.0]


def test_one_place_is_copied_once():
    trace = trace_of(build_attention([[copying(3, 3, 0)]]), ids=[*IDS[:11], 7], said=(7, 7, 9))
    assert retrieval_scores([trace], [AnswerSpan(3, 5)]).scores.tolist() == [0.5]


def test_scores_are_means_over_prompts_and_chance_is_the_place():
    always = [
        trace_of(build_attention([[copying(3, 4, 4), copying(place, place + 1, 0)]]), ids=IDS, said=(7, 8, 9))
        for place in (3, 1)
    ]
    found = retrieval_scores(always, [AnswerSpan(3, 5), AnswerSpan(1, 3)])
    assert found.each[:, 0].tolist() == [1.0, 0.0]
    assert found.scores[0] == 0.5
    assert found.chance.tolist() == [pytest.approx(0.5), 0.0]
    text = repr(found)
    for part in ("2 prompts × 2 heads", "layer 0 head 0", "0.50"):
        assert part in text


def test_the_needle_is_the_fact_that_was_asked_for():
    texts = ["Ben ", "has ", "42", ". ", "Ada ", "has ", "4", "2", ". ", "What ", "has ", "Ada?"]
    trace = trace_of(build_attention([[even(12)]]), texts=texts)
    question = Ask("".join(texts), "42")
    needle = locate_answer(trace, question)
    assert (needle.start, needle.stop, needle.sentence) == (6, 8, "Ada has 42.")
    other = locate_answer(trace, Ask("Ben has 42. Ada has 42. What has Ben?", "42"))
    assert (other.start, other.stop) == (2, 3)


def test_an_answer_that_is_not_in_the_text_is_no_needle():
    trace = trace_of(build_attention([[even(12)]]))
    with pytest.raises(LabError, match="'42'"):
        locate_answer(trace, Ask("Ada has 421. What has Ada?", "42"))
    with pytest.raises(LabError, match="of another prompt"):
        locate_answer(trace, Ask("Ada has 42. What has Ada?", "42"))


def test_what_does_not_go_together_is_refused():
    trace = trace_of(build_attention([[copying(3, 4, 0)]]), ids=IDS, said=(7, 8, 9))
    with pytest.raises(LabError, match="1 traces and 0"):
        retrieval_scores([trace], [])
    with pytest.raises(LabError, match="no generated answer"):
        retrieval_scores([trace_of(build_attention([[even(12)]]))], [AnswerSpan(0, 1)])
    two = trace_of(build_attention([[even(12)] * 2]), ids=IDS, said=(7, 8, 9))
    with pytest.raises(LabError, match="do not have the same heads"):
        retrieval_scores([trace, two], [AnswerSpan(3, 5)] * 2)


def test_it_becomes_a_frame():
    frame = scores(copying(3, 4, 0), even(12)).to_pandas()
    assert frame.columns.tolist() == ["layer", "head", "score", "chance"]
    assert frame.score.tolist() == [1.0, 0.0]
