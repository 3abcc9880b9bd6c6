"""Counts of an acceptance, against answers put together by hand."""

from __future__ import annotations

import math
import random

import pytest

from gemma_lab.errors import LabError
from gemma_lab.models.drafting.acceptance import Acceptance
from gemma_lab.models.drafting.drafter import Drafter


def rounds(rng: random.Random, passes: int, tokens: int) -> list[list[bool | None]]:
    """Return `Token.drafted` of each pass: accepted drafts, then one token of the model's own."""
    found: list[list[bool | None]] = [[None]]  # the pass that reads the prompt
    for _ in range(passes - 1):
        accepted = rng.randint(0, tokens)
        found.append([True] * accepted + ([None] if accepted == tokens else [False]))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_counts_of_whole_passes(seed):
    made = rounds(random.Random(seed), 12, 3)
    drafted = [each for one in made for each in one]
    found = Acceptance.of(drafted, drafter="d", draft_tokens=3)
    assert found.passes == 12
    assert found.tokens == len(drafted)
    assert found.accepted == sum(one.count(True) for one in made)
    assert found.examined == found.accepted + sum(one.count(False) for one in made)
    assert found.tokens_per_pass == pytest.approx(len(drafted) / 12)


def test_an_answer_that_ends_in_an_accepted_token_took_a_pass_for_it():
    found = Acceptance.of([None, True, True], drafter="d", draft_tokens=4)
    assert (found.passes, found.accepted, found.examined, found.rate) == (2, 2, 2, 1.0)


def test_an_empty_answer():
    found = Acceptance.of([], drafter="d", draft_tokens=4)
    assert (found.passes, found.tokens_per_pass) == (0, 0.0)
    assert math.isnan(found.rate)
    assert "none examined" in repr(found)


@pytest.mark.parametrize("tokens", [0, 33, 2.5, True, "four"])
def test_the_number_of_drafts_is_checked(tokens):
    with pytest.raises(LabError, match=r"drafter\.tokens"):
        Drafter(model=None, name="d", tokens=tokens)
