"""Acceptance by kind and timing of drafts, with a drafter that proposes known answers."""

from __future__ import annotations

import pytest
from support.drafters import scripted

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.evals.draft_timing import DraftSpeed, DraftTimes
from gemma_lab.models.drafting.drafter import Drafter

PROMPT = "What is 27 + 48?"


@pytest.fixture(scope="module")
def mini():
    return gl.load("mini-moe", device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def _without_drafter(mini):
    yield
    mini.drafter = None


def test_acceptance_is_counted_by_kind(mini):
    plain = mini.chat(PROMPT, thinking=True, temperature=0, max_new_tokens=24)
    mini.drafter = scripted(mini, plain, wrong=3)
    reply = mini.chat(PROMPT, thinking=True, temperature=0, max_new_tokens=24)
    examined = sum(token.drafted is not None for token in reply.tokens)
    accepted = sum(token.drafted is True for token in reply.tokens)
    asked = {"prompt": PROMPT, "thinking": True}
    found = gl.evals.draft_acceptance(mini, {"sums": [asked, asked], "plain": [PROMPT]}, max_new_tokens=24)
    assert found.kinds == ("sums", "plain")
    assert found.counts["sums"][:3] == (2 * examined, 2 * accepted, 2 * len(reply.tokens))
    assert found.rate("sums") == pytest.approx(accepted / examined)
    assert found.interval("sums") == gl.evals.wilson_interval(2 * accepted, 2 * examined)
    assert found.tokens_per_pass("sums") == pytest.approx(reply.acceptance.tokens_per_pass)
    assert f"{found.rate('sums'):.0%}" in found.figure().text
    assert found.to_pandas()["examined"].tolist()[0] == 2 * examined
    with pytest.raises(LabError, match="prose"):
        found.rate("prose")


def test_without_a_drafter_or_a_prompt_there_is_nothing_to_count(mini):
    with pytest.raises(LabError, match="mini-moe"):
        gl.evals.draft_acceptance(mini, {"sums": [PROMPT]})
    with pytest.raises(LabError, match="mini-moe"):
        gl.evals.draft_times(mini)
    mini.drafter = scripted(mini, mini.chat(PROMPT, temperature=0, max_new_tokens=4))
    for ask in (gl.evals.draft_acceptance, gl.evals.draft_speed):
        with pytest.raises(LabError, match="prompt"):
            ask(mini, {})


def test_answers_are_timed_with_and_without(mini):
    mini.drafter = drafter = scripted(mini, mini.chat(PROMPT, temperature=0, max_new_tokens=8))
    found = gl.evals.draft_speed(mini, {"sums": [PROMPT]}, drafts=(1, 3), repeats=1, max_new_tokens=8)
    assert mini.drafter is drafter
    assert drafter.tokens == 4
    assert set(found.seconds["sums"]) == {0, 1, 3}
    assert set(found.speedup["sums"]) == {1, 3}
    assert found.clock == "processor time"
    assert len(found.to_pandas()) == 3


def test_other_answers_with_the_drafter_are_refused(mini, monkeypatch):
    mini.drafter = scripted(mini, mini.chat(PROMPT, temperature=0, max_new_tokens=8))
    chat = type(mini).chat

    def spoiled(self, prompt=None, **options):
        return chat(self, "Write 3 in German words." if self.drafter else prompt, **options)

    monkeypatch.setattr(type(mini), "chat", spoiled)
    with pytest.raises(LabError, match="sums"):
        gl.evals.draft_speed(mini, {"sums": [PROMPT]}, drafts=(1,), repeats=1, max_new_tokens=8)
    assert mini.drafter is not None


def test_passes_are_timed_and_nothing_is_left(mini):
    from gemma_lab.minis.drafter_architecture import new_drafter

    mini.drafter = Drafter(model=new_drafter(mini.model, seed=0).eval(), name="new", tokens=4)
    found = gl.evals.draft_times(mini, tokens=(1, 4), repeats=2)
    assert found.tokens == (1, 4)
    assert all(0 < experts < whole for whole, experts in found.pass_s)
    assert found.draft_s > 0
    assert not mini.lock.locked()
    assert all(not layer.experts._forward_hooks for layer in mini.model.get_decoder().layers)
    assert len(found.to_pandas()) == 2


def test_shares_are_those_of_the_times():
    found = DraftTimes("m", "d", (1, 5), ((10.0, 4.0), (16.0, 8.0)), 2.0)
    assert found.shares == pytest.approx({"expert_time": 0.4, "draft_time": 0.2, "token_time": 0.05})
    assert "40%" in repr(found)
    assert DraftTimes("m", "d", (1,), ((10.0, 4.0),), 2.0).token_time == 0


def test_the_speedup_is_the_ratio_to_plain_decoding():
    found = DraftSpeed("m", "d", {"prose": {0: 0.03, 2: 0.02, 4: 0.04}}, "wall time")
    assert found.speedup == {"prose": pytest.approx({2: 1.5, 4: 0.75})}
    assert "1.50 × with 2" in repr(found)
