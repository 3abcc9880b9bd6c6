"""A check-up asks, grades, survives an interrupt, and can fail."""

from __future__ import annotations

import json
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app
from gemma_lab.errors import ContextFull, LabError
from gemma_lab.evals.bfcl import ToolCallCase, tool_call_cases
from gemma_lab.evals.questions import QUICK, SLOW, load_questions, skill_names
from gemma_lab.evals.report import Checkup
from gemma_lab.evals.run import checkup
from gemma_lab.models.chat.tools import Call


class Pupil:
    """Answers by looking questions up, wrong on one skill, and gives up after some questions."""

    name = "pupil"

    def __init__(self, *, modalities=("text", "image"), wrong=(), last=10_000):
        self.modalities, self.wrong, self.left = frozenset(modalities), wrong, last
        self.last_checkup = None

    def chat(self, prompt, *, images=(), video=None, audio=None, tools=(), temperature, **_):
        assert temperature == 0
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        text, history = (prompt, ()) if isinstance(prompt, str) else (prompt[0]["content"], prompt[1:])
        question = _index()[_key(text, history, images, video, audio, tools)]
        if question.skill in self.wrong:
            return SimpleNamespace(text="no idea", calls=())
        calls = () if question.call is None else (Call(**question.call),)
        return SimpleNamespace(text=question.answer, calls=calls)


def _key(prompt, history, images, video, audio, tools):
    """Return what tells one question from another: what a model is given of it."""
    frames = [] if video is None else video[0]
    sound = b"" if audio is None else audio.samples.tobytes()
    pictures = tuple(picture.tobytes() for picture in (*images, *frames))
    return prompt, repr(tuple(history)), pictures, sound, repr(tuple(tools))


@cache
def _index():
    asked = load_questions(per_skill=QUICK)
    found = {_key(q.prompt, q.history, q.opened_images, q.video, q.audio, q.tools): q for q in asked}
    assert len(found) == len(asked)
    return found


def test_a_perfect_pupil_is_right_everywhere():
    found = checkup(Pupil(modalities=("text", "image", "video", "audio")), progress=False)
    assert {score.name for score in found.skills} == set(skill_names()) - set(SLOW)
    assert all((score.asked, score.right) == (QUICK, QUICK) for score in found.skills)
    assert all(score.chance < 0.8 for score in found.skills)
    assert found.failures == []
    assert found.below(0.9) == []


def test_what_is_wrong_is_found_and_counted_by_group():
    found = checkup(Pupil(wrong=("names",)), progress=False, skills=["names", "recall"])
    names, recall = found.skills
    assert (names.right, recall.right) == (0, 20)
    assert found.below(0.5) == [names]
    assert {answer.question.skill for answer in found.failures} == {"names"}
    assert sum(group.asked for group in found.groups("names")) == 20
    assert repr(found) == "Checkup(pupil: names 0/20, recall 20/20)"
    frame = found.to_pandas()
    assert len(frame) == 40
    assert frame.groupby("skill")["right"].sum().to_dict() == {"names": 0, "recall": 20}


def test_a_model_that_sees_nothing_is_not_asked_about_pictures():
    found = checkup(Pupil(modalities=("text",)), progress=False)
    assert found.not_asked["digits"] == "pupil has no image input"
    asked = {score.name for score in found.skills}
    assert {"names", "numbers", "recall"} <= asked
    assert not asked & set(found.not_asked)
    media = {question.skill for question in load_questions() if question.modality != "text"}
    assert set(found.not_asked) - set(SLOW) == media


def test_a_text_that_does_not_fit_is_not_asked_and_the_others_are():
    longest = sorted(len(question.prompt) for question in load_questions(skills=["recall"], per_skill=QUICK))[
        QUICK // 2
    ]

    class Small(Pupil):
        def chat(self, prompt, **options):
            if len(prompt) > longest:
                raise ContextFull("The prompt is 999 tokens.")
            return super().chat(prompt, **options)

    found = checkup(Small(), progress=False, skills=["names", "recall"])
    long = [q for q in load_questions(skills=["recall"], per_skill=QUICK) if len(q.prompt) > longest]
    assert long
    assert len(found.answers) == 2 * QUICK - len(long)
    assert set(found.not_asked.values()) == {"The prompt is 999 tokens."}
    assert set(found.not_asked) == {f"recall {question.group}" for question in long}


def test_an_interrupt_keeps_what_was_answered():
    pupil = Pupil(last=7)
    with pytest.raises(KeyboardInterrupt):
        checkup(pupil, progress=False)
    assert isinstance(pupil.last_checkup, Checkup)
    assert len(pupil.last_checkup.answers) == 7


class Bound:
    """Right where a grammar binds the answer; free, it calls nothing and writes no JSON."""

    name, modalities, last_checkup = "bound", frozenset({"text"}), None

    def chat(self, prompt, *, tools=(), tool_choice=None, schema=None, **_):
        text, calls = "?", ()
        asked = [*tool_call_cases(), *load_questions(skills=["tools", "records"], per_skill=QUICK)]
        asked = [each for each in asked if not isinstance(prompt, list) or each.messages == prompt]
        asked = [each for each in asked if isinstance(prompt, list) or each.prompt == prompt]
        [case] = [each for each in asked if tuple(tools) == tuple(each.tools)]
        if schema is not None:
            text = case.answer
        elif tool_choice == "auto":
            wanted = [case.call] if getattr(case, "call", None) else []
            if isinstance(case, ToolCallCase):
                wanted = [
                    {"name": name, "arguments": {k: v[0] for k, v in allowed.items() if "" not in v}}
                    for right in case.calls
                    for name, allowed in right.items()
                ]
            elif case.call is None:
                text = case.answer
            calls = tuple(Call(each["name"], each["arguments"]) for each in wanted)
        changed = schema is not None or tool_choice is not None
        token = SimpleNamespace(overruled=SimpleNamespace(changed=changed))
        return SimpleNamespace(text=text, calls=calls, tokens=(token,), finish_reason="stop")


def test_calls_and_json_are_asked_without_and_with_a_grammar():
    found = checkup(Bound(), progress=False, skills=["calls", "json"])
    scores = {score.name: (score.right, score.asked) for score in found.skills}
    assert scores["calls with grammar"] == scores["json with grammar"] == (QUICK, QUICK)
    assert scores["json"] == (0, QUICK)
    irrelevant = sum(case.kind == "irrelevance" for case in tool_call_cases(per_kind=2))
    assert scores["calls"] == (irrelevant, QUICK)
    assert {group.name for group in found.groups("calls")} == {
        "single", "multiple", "parallel", "irrelevance", "tools",
    }  # fmt: skip
    assert found.structured["json"].paired.second == QUICK
    assert found.structured["json"].changed == QUICK
    assert found.answers == ()
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["structured"]["calls"]["paired"]["with"] == QUICK - irrelevant
    assert "McNemar" in str(found)
    assert found._repr_html_().count("<table") == 3
    assert found.figure().text


def test_calls_and_json_are_asked_only_if_they_are_named():
    found = checkup(Pupil(), progress=False, skills=["names"])
    assert found.structured == {}
    with pytest.raises(LabError, match="call"):
        checkup(Pupil(), progress=False, skills=["names", "call"])


def test_the_command_fails_below_its_threshold(tiny_folder, monkeypatch):
    monkeypatch.setattr("gemma_lab.evals.run.QUICK", 5)
    monkeypatch.setattr("gemma_lab.evals.run._MAX_TOKENS", 8)
    done = CliRunner().invoke(app, ["checkup", str(tiny_folder("26B-A4B")), "--skill", "names"])
    assert done.exit_code == 1
    assert "Below the threshold of 50%: names" in done.output


def test_random_weights_of_a_minis_shape_score_at_chance_in_every_skill(monkeypatch):
    """The check-up can fail: the same tokenizer, processor and shape, with weights that learned nothing."""
    lab = gl.load("mini-moe", progress=False)
    torch.manual_seed(0)
    lab.model = type(lab.model)(lab.config).eval()
    limits = {"QUICK": 3, "_MAX_TOKENS": 6, "_MAX_VALUE_TOKENS": 6, "_MAX_THINKING_TOKENS": 6}
    for name, value in limits.items():
        monkeypatch.setattr(f"gemma_lab.evals.run.{name}", value)
    found = checkup(lab, progress=False)
    assert {score.name for score in found.skills} == set(skill_names()) - set(found.not_asked)
    assert all(score.interval[0] <= score.chance for score in found.skills)
    expected = sum(score.chance * score.asked for score in found.skills)
    assert sum(score.right for score in found.skills) <= expected + 3 * expected**0.5
    assert found.failures
