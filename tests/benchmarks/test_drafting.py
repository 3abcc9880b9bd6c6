"""Tokens per second of processor time with a drafter ÷ without it, on repetitive text and on answers.

Answers with and without the drafter alternate in one run, and `draft_speed` refuses any that differ. Whole
calls are timed, the prompt included. Repetitive text is what a mini writes by itself when nothing ends its
answer.
"""

from __future__ import annotations

import pytest

import gemma_lab as gl

TARGET = 1.3
DRAFTS = (2, 4, 8)
ROUNDS, NEW_TOKENS = 5, 96
REPETITIVE = (
    "Udo lives in Lagos. Udo lives in Lagos. Udo lives in Lagos",
    "Jan moved to Seoul Jan moved to Seoul Jan moved to Seoul Jan moved to Seoul",
    "one two three four one two three four one two three four",
)


@pytest.fixture(scope="module")
def lab():
    return gl.load("mini-moe", drafter="auto", device="cpu", dtype="float32")


def test_drafting_speeds_repetitive_text_up(lab, monkeypatch, record):
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", None)
    prompts = {"repetitive": [{"prompt": text, "raw": True} for text in REPETITIVE]}
    measured = gl.evals.draft_speed(
        lab, prompts, drafts=DRAFTS, repeats=ROUNDS, max_new_tokens=NEW_TOKENS, top_logprobs=0
    )
    drafts, ratio = max(measured.speedup["repetitive"].items(), key=lambda item: item[1])
    note = f"{lab.name}, {NEW_TOKENS} tokens, {drafts} drafts per pass, median of {ROUNDS} rounds in turns"
    record("draft-speed", ratio, f"≥ {TARGET}", "×", note, case="repetitive text")
    assert ratio >= TARGET


@pytest.mark.parametrize("skill", ["records", "thinking"])
def test_drafting_on_answers_is_reported(lab, skill, record):
    asked = [question for question in gl.evals.load_questions() if question.skill == skill][:6]
    prompts = {skill: [{"prompt": each.prompt, "thinking": each.thinking} for each in asked]}
    measured = gl.evals.draft_speed(lab, prompts, drafts=DRAFTS, repeats=3, max_new_tokens=128)
    drafts, ratio = max(measured.speedup[skill].items(), key=lambda item: item[1])
    acceptance = gl.evals.draft_acceptance(lab, prompts, max_new_tokens=128)
    note = f"{lab.name}, {drafts} drafts per pass, acceptance {acceptance.rate(skill):.2f}, whole calls"
    record("draft-speed", ratio, "", "×", note, case=f"answers, {skill}")
    assert ratio > 0
