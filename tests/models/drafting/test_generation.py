"""Answers with a drafter are those without one: ids, draws, texts, stops, and what is recorded of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from support.drafters import scripted, tiny_drafter
from support.shapes import SIZES

import gemma_lab
from gemma_lab.models.drafting.drafter import Drafter

PROMPT = "Write 47 in German words."


@pytest.fixture(scope="module")
def mini():
    lab = gemma_lab.load("mini-moe", device="cpu", dtype="float32")
    lab.model.generation_config.eos_token_id = [1]  # answers of any length
    return lab


@pytest.fixture(autouse=True)
def _without_drafter(mini):
    yield
    mini.drafter = None


def both(lab, drafter, prompt=PROMPT, **options):
    """Return the answers without and with a drafter."""
    lab.drafter = None
    plain = lab.chat(prompt, **options)
    lab.drafter = drafter(plain) if callable(drafter) else drafter
    return plain, lab.chat(prompt, **options)


def ids(reply):
    return [token.id for token in reply.tokens]


def same(plain, drafted):
    assert ids(plain) == ids(drafted)
    assert (plain.text, plain.thinking, plain.finish_reason) == (
        drafted.text,
        drafted.thinking,
        drafted.finish_reason,
    )
    assert [token.logprob for token in drafted.tokens] == pytest.approx(
        [token.logprob for token in plain.tokens], abs=1e-4
    )
    assert [token.entropy for token in drafted.tokens] == pytest.approx(
        [token.entropy for token in plain.tokens], abs=1e-3
    )


@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("tokens", [1, 4, 9])
def test_greedy_ids_are_the_same_whatever_is_proposed(mini, wrong, tokens):
    plain, drafted = both(
        mini,
        lambda reply: scripted(mini, reply, wrong=wrong, tokens=tokens),
        temperature=0,
        max_new_tokens=23,
    )
    same(plain, drafted)
    found = drafted.acceptance
    assert found.tokens == 23
    assert found.draft_tokens == tokens
    # each examined proposal is wrong exactly at the places that the script spoils
    for place, token in enumerate(drafted.tokens):
        spoiled = bool(wrong) and place % wrong == wrong - 1
        assert token.drafted in (None, not spoiled)
    if wrong == 0:
        assert found.rate == 1
        assert found.passes == 1 + -(-22 // (tokens + 1))
    if wrong == 1:
        assert found.accepted == 0
        assert found.passes == 23


@pytest.mark.parametrize("size", SIZES)
def test_greedy_ids_are_the_same_on_every_shape(tiny_lab, size):
    lab = tiny_lab(size)
    random = Drafter(model=tiny_drafter(lab.model), name="random", tokens=3)
    try:
        for drafter in (random, lambda reply: scripted(lab, reply, wrong=4)):
            # beyond the sliding window of 16 tokens
            plain, drafted = both(
                lab, drafter, "a b c d e f g h i j k l m n", temperature=0, max_new_tokens=40
            )
            same(plain, drafted)
        assert 0 < drafted.acceptance.accepted < drafted.acceptance.examined
    finally:
        lab.drafter = None


def test_a_drafter_sees_the_keys_of_known_tokens_only(mini):
    plain, drafted = both(
        mini, lambda reply: scripted(mini, reply, wrong=3), temperature=0, max_new_tokens=180
    )
    same(plain, drafted)
    model = mini.drafter.model
    window, keys = mini.text_config.sliding_window, [seen["full_attention"] for seen in model.keys]
    known = sorted(set(keys))
    assert known[0] == plain.prompt_tokens  # nothing of the answer was read yet
    assert known[-1] > window
    for seen in model.keys:
        # the local layers hold what they need, and none of the rejected tokens beyond
        assert min(window, seen["full_attention"]) <= seen["sliding_attention"] <= seen["full_attention"]
    positions = {seen["full_attention"] for seen in model.keys}
    assert positions <= set(range(plain.prompt_tokens, plain.prompt_tokens + 180))


@pytest.mark.parametrize("wrong", [0, 2])
def test_a_seed_draws_the_same_tokens(mini, wrong):
    for seed in range(3):
        plain, drafted = both(
            mini,
            lambda reply: scripted(mini, reply, wrong=wrong),
            seed=seed,
            temperature=2.0,
            max_new_tokens=30,
        )
        same(plain, drafted)
        assert drafted.acceptance.accepted > 0


def test_a_random_drafter_changes_no_draw(mini):
    drafter = Drafter(model=tiny_drafter(mini.model), name="random", tokens=4)
    plain, drafted = both(mini, drafter, seed=1, temperature=3.0, top_k=0, top_p=1.0, max_new_tokens=24)
    same(plain, drafted)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_limit_holds(mini, limit):
    plain, drafted = both(mini, lambda reply: scripted(mini, reply), temperature=0, max_new_tokens=limit)
    same(plain, drafted)
    assert len(drafted.tokens) == limit
    assert drafted.finish_reason == "length"


def test_an_answer_ends_at_a_stop_string_amid_accepted_tokens(mini):
    whole = mini.chat(PROMPT, temperature=0, max_new_tokens=40)
    stops = {token.text for token in whole.tokens if token.text.strip()}
    for stop in stops:
        plain, drafted = both(
            mini,
            lambda reply: scripted(mini, whole, tokens=8),
            temperature=0,
            max_new_tokens=40,
            stop=stop,
        )
        same(plain, drafted)
        assert drafted.finish_reason == "stop"
        assert drafted.text.endswith(stop)


def test_an_answer_ends_at_the_end_of_the_turn(mini):
    whole = mini.chat(PROMPT, temperature=0, max_new_tokens=20)
    mini.model.generation_config.eos_token_id = [1, 106]
    try:
        plain, drafted = both(
            mini,
            lambda reply: scripted(mini, whole, tokens=8),
            temperature=0,
            max_new_tokens=20,
        )
    finally:
        mini.model.generation_config.eos_token_id = [1]
    same(plain, drafted)
    assert drafted.finish_reason == "stop"


def test_a_stream_gives_the_same_tokens(mini):
    plain = mini.chat(PROMPT, temperature=0, max_new_tokens=30)
    mini.drafter = scripted(mini, plain, wrong=4)
    with mini.stream(PROMPT, temperature=0, max_new_tokens=30) as stream:
        tokens = [token for chunk in stream for token in chunk.tokens]
    assert [token.id for token in tokens] == ids(plain)
    assert stream.reply.acceptance.accepted > 0


def test_an_event_stops_it_and_leaves_nothing(mini):
    plain = mini.chat(PROMPT, temperature=0, max_new_tokens=200)
    mini.drafter, event = scripted(mini, plain), threading.Event()
    before = set(vars(mini.model))
    with mini.stream(PROMPT, temperature=0, max_new_tokens=200, stop=[event]) as stream:
        for _ in stream:
            event.set()
    assert stream.reply.finish_reason == "stopped"
    assert ids(stream.reply) == ids(plain)[: len(stream.reply.tokens)]
    assert set(vars(mini.model)) == before
    assert not mini.lock.locked()
    assert "_get_candidate_generator" not in vars(mini.model)
    mini.drafter = None
    assert ids(mini.chat(PROMPT, temperature=0, max_new_tokens=20)) == ids(plain)[:20]


@dataclass
class Person:
    name: str
    age: int


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_grammar_binds_the_same_answer(mini, temperature):
    mini.drafter = None
    free = mini.chat("Ada is 36 years old.", temperature=0, max_new_tokens=40)
    options = {"schema": Person, "temperature": temperature, "max_new_tokens": 48}
    options |= {"seed": 4} if temperature else {}
    for source in (None, free):  # proposals that the grammar allows, and those that it forbids
        plain, drafted = both(
            mini,
            lambda reply, source=source: scripted(mini, source or reply, wrong=5),
            "Ada is 36 years old.",
            **options,
        )
        same(plain, drafted)
        assert [token.overruled.first_choice_id for token in drafted.tokens] == [
            token.overruled.first_choice_id for token in plain.tokens
        ]


def test_a_prompt_read_in_chunks_gives_the_same_answer(mini):
    prompt = "Ada has the lemon. " * 1200 + "What does Ada have?"
    plain, drafted = both(
        mini, lambda reply: scripted(mini, reply, wrong=3), prompt, temperature=0, max_new_tokens=12
    )
    assert plain.prompt_tokens > 4096
    same(plain, drafted)
    assert drafted.acceptance.accepted > 0


def test_an_image_in_the_prompt_gives_the_same_answer(mini):
    picture = gemma_lab.data_path("media/digits/3.png")
    plain, drafted = both(
        mini,
        lambda reply: scripted(mini, reply, wrong=3),
        "Which digit is this?",
        images=[picture],
        temperature=0,
        max_new_tokens=12,
    )
    same(plain, drafted)


def test_the_same_answer_under_an_edit(mini):
    edit = {"ablate_experts": {0: [3, 17], 5: [4]}, "ablate_heads": {2: [1]}}
    with mini.edit(**edit):
        plain, drafted = both(
            mini, lambda reply: scripted(mini, reply, wrong=3), temperature=0, max_new_tokens=24
        )
    same(plain, drafted)
    assert drafted.acceptance.accepted > 0


def test_a_knockout_of_positions_holds_for_verified_tokens(mini):
    knockout = gemma_lab.AttentionKnockout(queries=(12, None), keys=(3, 6))
    with mini.edit(knock_out_attention=knockout):
        plain, drafted = both(
            mini, lambda reply: scripted(mini, reply, wrong=3), temperature=0, max_new_tokens=24
        )
    same(plain, drafted)


def test_a_trace_reads_token_by_token_and_notes_the_drafts_of_a_second_run(mini):
    plain = mini.chat(PROMPT, temperature=0, max_new_tokens=8)
    without = mini.trace(PROMPT, max_new_tokens=8)
    mini.drafter = scripted(mini, plain)
    trace = mini.trace(PROMPT, max_new_tokens=8)
    assert mini.drafter.model.keys
    assert set(trace.meta["drafter"]["drafted"]) == {None, True}
    assert trace.generation == without.generation
    assert trace.generation.ids.tolist() == ids(plain)
    assert len(trace.routing) == plain.prompt_tokens + 7


def test_without_a_drafter_nothing_is_said_of_drafts(mini):
    reply = mini.chat(PROMPT, temperature=0, max_new_tokens=5)
    assert reply.acceptance is None
    assert {token.drafted for token in reply.tokens} == {None}
    assert reply.to_dict()["acceptance"] is None


def test_replies_with_and_without_a_drafter_are_equal(mini):
    plain, drafted = both(
        mini, lambda reply: scripted(mini, reply), temperature=0, max_new_tokens=6, top_logprobs=0
    )
    assert [token.text for token in plain.tokens] == [token.text for token in drafted.tokens]
    assert drafted.to_dict()["acceptance"]["accepted"] == drafted.acceptance.accepted
