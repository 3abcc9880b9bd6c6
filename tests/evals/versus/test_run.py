"""A comparison is zero against itself, and equals what is computed by hand from both models."""

from __future__ import annotations

import gc
import json
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadEdit, ContextFull, LabError, NotTraced, ServerError
from gemma_lab.evals.questions import Question
from gemma_lab.evals.report import Checkup, GradedAnswer
from gemma_lab.evals.statistics import PairedAnswers
from gemma_lab.evals.tool_calls import StructuredAnswer, ToolCallAccuracy
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.models.remote.reply import ScoredText, ServerReply

PROMPTS = ["What is this?", "Count: one, two,"]
QUIET = {"progress": False, "max_new_tokens": 6, "rounds": 0}
EDIT = gl.Edit(ablate_experts=range(50))


@pytest.fixture(scope="module")
def moe(tiny_lab):
    return tiny_lab("26B-A4B")


@pytest.fixture(scope="module")
def edited(moe):
    return gl.versus(moe, EDIT, PROMPTS, **QUIET)


@pytest.mark.parametrize("size", ["E2B", "12B", "26B-A4B"])
def test_a_lab_against_itself_is_zero_everywhere(tiny_lab, size):
    lab = tiny_lab(size)
    before = hooks(lab.model)
    found = gl.versus(lab, lab, PROMPTS, **QUIET)
    assert (found.tokens.kl == 0).all()
    assert found.tokens.agreement == 1
    assert (found.tokens.logprobs[:, 0] == found.tokens.logprobs[:, 1]).all()
    assert found.equal_answers == (2, 2)
    assert all(pair.same_tokens == pair.tokens[0] == pair.tokens[1] for pair in found.answers)
    assert (found.attention.distance == 0).all()
    assert found.memory.first == found.memory.second
    if size == "26B-A4B":
        assert (found.routing.flipped == 0).all()
        assert (found.routing.weight == 0).all()
    else:
        assert found.absent["routing"] == "neither model has experts"
    assert 0 <= found.tokens.noise.max() < 1e-6
    assert found.names == (f"{lab.name} (first)", f"{lab.name} (second)")
    assert hooks(lab.model) == before


def logits(lab, request, answer):
    ids = torch.tensor([[*prepare(lab, request).ids, *answer[:-1]]])
    with torch.no_grad():
        return lab.model(input_ids=ids, use_cache=False).logits[0, -len(answer) :]


def test_divergence_is_that_of_two_plain_calls(moe, edited):
    kl, same, tops = [], [], []
    for prompt in PROMPTS:
        request = moe.request(prompt, temperature=0, max_new_tokens=6)
        answer = [token.id for token in moe.chat(request).tokens]
        first = logits(moe, request, answer)
        with moe.edit(EDIT):
            second = logits(moe, request, answer)
        p, q = first.double().log_softmax(-1), second.double().log_softmax(-1)
        kl.append(torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1))
        same.append(p.argmax(-1) == q.argmax(-1))
        tops.append(p.argmax(-1))
    np.testing.assert_allclose(edited.tokens.kl, torch.cat(kl).numpy(), rtol=1e-3, atol=1e-7)
    assert edited.tokens.agreement == torch.cat(same).double().mean()
    # greedy: the first model's likeliest token is the answer's
    assert edited.tokens.ids.tolist() == torch.cat(tops).tolist() == edited.tokens.top_ids[:, 0].tolist()


def test_flips_and_attention_are_those_of_two_traces(moe, edited):
    start = 0
    for prompt in PROMPTS:
        first = moe.trace(
            prompt, max_new_tokens=6, precision="full", attention=gl.AttentionRequest(rows=(-1,))
        )
        ids = first.tokens.ids.tolist()
        second = moe.trace(ids, raw=True, precision="full", edit=EDIT)
        for layer in range(len(first.routing.layers)):
            flipped = [
                1 - len(set(a) & set(b)) / first.routing.top_k
                for a, b in zip(
                    first.routing.ids[layer].tolist(), second.routing.ids[layer].tolist(), strict=True
                )
            ]
            np.testing.assert_allclose(edited.routing.flipped[layer, start : start + len(ids)], flipped)
        start += len(ids)
    assert start == len(edited.columns) == len(edited.routing)
    assert edited.routing.mean > 0.2
    # the last token of the prompt is the first query that is compared
    row = int((~first.tokens.generated).sum()) - 1
    again = moe.attention_rows(second, [row])
    a, b = first.attention.row(0, row), again[0, row]
    first_of_second = int(np.argmax(edited.tokens.prompt == 1))
    queries = [trace.attention.rows for trace, _ in edited.traces]
    assert queries[1][0] == row == edited.tokens.row[first_of_second]
    distance = np.abs(a - b).sum(-1) / 2
    np.testing.assert_allclose(edited.attention.distance[0, :, len(queries[0])], distance, atol=1e-5)


def test_ways_to_name_the_same_edit_are_equal(moe, edited):
    variant = gl.evals.Variant(moe, lambda: moe.edit(EDIT), name="fewer experts")
    for second in (moe.edit(EDIT), variant, EDIT):
        found = gl.versus(moe, second, PROMPTS, **QUIET)
        np.testing.assert_array_equal(found.tokens.kl, edited.tokens.kl)
        np.testing.assert_array_equal(found.routing.flipped, edited.routing.flipped)
    assert gl.versus(moe, variant, PROMPTS[:1], **QUIET).names[1] == "fewer experts"
    backwards = gl.versus(EDIT, moe, PROMPTS, **QUIET)
    assert backwards.names == edited.names[::-1]
    on_variant = gl.versus(variant, gl.Edit(ablate_heads={0: [0]}), PROMPTS[:1], **QUIET)
    assert on_variant.traces[0][1].meta["edit"]["ablate_experts"]  # the other side's context stays open


def test_models_that_are_loaded_in_turn_give_the_same(tiny_folder, moe):
    alive = []  # of models that are loaded by this test; the collector runs only where versus calls it

    def loader(size):
        def load():
            assert not [ref for ref in alive if ref() is not None]  # one at a time
            lab = gl.load(tiny_folder(size), device="cpu", dtype="float32")
            alive.append(weakref.ref(lab.model))
            return lab

        return load

    settings = QUIET | {"rounds": 1}
    turns = gl.versus(loader("26B-A4B"), loader("26B-A4B"), PROMPTS, **settings)
    assert (turns.tokens.kl == 0).all()
    assert turns.speed is None or not turns.speed.alternated
    gc.collect()
    mixed = gl.versus(loader("E2B"), loader("26B-A4B"), PROMPTS, **QUIET)
    together = gl.versus(gl.load(tiny_folder("E2B"), device="cpu", dtype="float32"), moe, PROMPTS, **QUIET)
    np.testing.assert_array_equal(mixed.tokens.kl, together.tokens.kl)
    assert "has no experts" in mixed.absent["routing"]
    assert "heads" in mixed.absent["attention"]
    assert mixed.memory.totals[0] != mixed.memory.totals[1]


def test_speed_is_measured_in_turn(moe):
    found = gl.versus(moe, moe, PROMPTS, **QUIET | {"rounds": 3, "max_new_tokens": 8})
    if found.speed is None:  # random models may end at once
        assert "two tokens" in found.absent["speed"]
    else:
        assert found.speed.alternated
        assert found.speed.decoding.shape == (3, 2)
        assert (found.speed.ratios > 0).all()


def test_another_vocabulary_leaves_only_the_answers(tiny_folder, moe, monkeypatch):
    other = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32")
    more = other.tokenizer.get_vocab() | {"another": 9999}
    monkeypatch.setattr(other.tokenizer, "get_vocab", lambda: more)
    found = gl.versus(moe, other, PROMPTS, **QUIET)
    assert "vocabularies" in found.absent["tokens"]
    assert found.tokens is found.routing is found.attention is None
    assert found.equal_answers[1] == 2
    assert found.memory is not None
    with pytest.raises(NotTraced, match="vocabularies"):
        found.worst()
    with pytest.raises(NotTraced, match="vocabularies"):
        found.worst(by="flipped")


class Server:
    """A connected server that answers what it was given."""

    name = "served"

    def __init__(self, texts, *, logprob=-0.5):
        self.texts, self.logprob, self.asked = texts, logprob, []

    def chat(self, prompt, **options):
        self.asked.append((prompt, options))
        text = self.texts[prompt]
        scored = tuple(
            ScoredText(part, self.logprob, ((part, self.logprob), ("other", -2.0))) for part in text
        )
        return ServerReply(
            text=text, thinking="", calls=(), messages=[], finish_reason="stop", prompt_tokens=9,
            new_tokens=len(text), sampling=Sampling.greedy(), seed=None, model=self.name, seconds=0.25,
            scored=None if self.logprob is None else scored,
        )  # fmt: skip

    def checkup(self, **_):
        return Checkup(self.name, [], not_asked={})


def test_of_a_server_answers_and_reported_probabilities_are_compared():
    first, second = Server({"a": "xyz", "b": "qr"}), Server({"a": "xyw", "b": "qr"}, logprob=-1.0)
    found = gl.versus(first, second, ["a", "b"], progress=False, rounds=2, names=("one", "two"))
    assert found.equal_answers == (1, 2)
    assert first.asked[0] == ("a", {"temperature": 0.0, "max_new_tokens": 32, "top_logprobs": 10})
    for part in ("tokens", "routing", "attention", "memory"):
        assert getattr(found, part) is None
        assert "server" in found.absent[part]
    # three positions of the first prompt, the last of them with other texts, and two of the second
    p, q = np.exp(-0.5), np.exp(-1.0)
    known = p * np.log(p / q) + (1 - p - np.exp(-2)) * np.log((1 - p - np.exp(-2)) / (1 - q - np.exp(-2)))
    apart = (1 - np.exp(-2)) * np.log(1)
    np.testing.assert_allclose(found.answers[0].kl_bounds, [known, known, apart], atol=1e-9)
    assert len(found.reported_kl) == 5
    assert found.speed.whole
    assert found.speed.medians == (5 / 0.5, 5 / 0.5)
    assert "KL ≥" in repr(found)
    assert "whole answers" in repr(found.speed)


def test_a_server_without_log_probabilities_gives_answers_only(moe):
    texts = dict.fromkeys(PROMPTS, "hello")
    found = gl.versus(moe, Server(texts, logprob=None), PROMPTS, **QUIET)
    assert found.equal_answers[1] == 2
    assert found.answers[0].same_tokens is None
    assert not len(found.reported_kl)
    assert found.memory is None


def test_given_answers_are_read_instead(moe):
    ids = [[70, 71, 72], [80, 81]]
    found = gl.versus(moe, EDIT, PROMPTS, answers=ids, **QUIET)
    assert found.tokens.ids.tolist() == [70, 71, 72, 80, 81]
    text = gl.versus(moe, EDIT, PROMPTS[:1], answers=["yes"], **QUIET)
    assert text.tokens.ids.tolist() == moe.tokenizer("yes", add_special_tokens=False)["input_ids"]


def test_other_media_are_left_out_with_the_reason(tiny_lab, moe):
    text_only = tiny_lab("26B-A4B")
    question = moe.request("What is this?", images=[Image.new("RGB", (48, 48), "blue")])
    lab = gl.Lab(model=text_only.model, processor=text_only.tokenizer, name="no images")
    found = gl.versus(moe, lab, [question, "Hello"], **QUIET)
    assert found.answers[0].second is None
    assert "no images" in found.answers[0].note
    assert "1 could not be read" in found.absent["some prompts"]
    assert set(found.tokens.prompt.tolist()) == {1}


def test_prompts_that_neither_takes_are_refused(tiny_lab):
    lab = tiny_lab("26B-A4B")
    deaf = gl.Lab(model=lab.model, processor=lab.tokenizer, name="text only")
    with pytest.raises(LabError, match="Neither model"):
        gl.versus(deaf, deaf, [lab.request("What?", images=[Image.new("RGB", (48, 48))])], **QUIET)


def test_other_errors_end_the_comparison(moe):
    class Broken(Server):
        def chat(self, prompt, **options):
            raise ServerError("gone")

    with pytest.raises(ServerError):
        gl.versus(moe, Broken({}), PROMPTS, **QUIET)


def question(skill, prompt, answer="yes"):
    return Question(skill, "g", prompt, answer)


def test_checkups_are_paired_question_by_question(moe):
    def checkup(model, grades):
        answers = [
            GradedAnswer(question(skill, f"{skill} {number}"), "r", right)
            for skill, several in grades.items()
            for number, right in enumerate(several)
        ]
        return Checkup(model, answers, not_asked={"sounds": "no audio"}, chance={"a": 0.25})

    one = checkup("one", {"a": [1, 1, 1, 1, 1, 1, 1, 0], "b": [1, 0, 1], "c": [1]})
    two = checkup("two", {"a": [0, 0, 0, 0, 0, 0, 1, 0], "b": [1, 1, 1, 1]})
    found = gl.versus(moe, moe, PROMPTS[:1], checkup=(one, two), **QUIET).checkup
    a, b = found.skills
    assert a.answers == PairedAnswers(both=1, first=6, second=0, neither=1)
    assert b.answers == PairedAnswers(both=2, first=0, second=1, neither=0)
    assert a.adjusted == pytest.approx(2 * a.answers.p_value)
    assert a.answers.p_value == pytest.approx(2 / 64)
    assert a.accuracies == (7 / 8, 1 / 8)
    assert a.chance == 0.25
    low, high = a.difference_interval
    assert low < -6 / 8 < high < 0
    assert found.not_compared == {"c": "not asked of both models", "sounds": "no audio"}
    assert found.overall == PairedAnswers(3, 6, 1, 1)
    assert not found.changed
    assert list(found.to_pandas()["only_first"]) == [6, 0]


def test_a_checkup_is_made_of_both(moe):
    found = gl.versus(moe, EDIT, PROMPTS[:1], checkup=["names"], **QUIET).checkup
    assert [skill.skill for skill in found.skills] == ["names"]
    assert found.skills[0].asked == 20


def test_the_worst_tokens_come_first(edited):
    worst = edited.worst(4)
    assert [token.kl for token in worst.tokens] == sorted(edited.tokens.kl, reverse=True)[:4]
    place = int(np.argmax(edited.tokens.kl))
    assert worst[0].next_token == edited.tokens.labels[place]
    assert (worst[0].prompt, worst[0].row) == (edited.tokens.prompt[place], edited.tokens.row[place])
    flipped = edited.worst(3, by="flipped")
    assert flipped[0].flipped == edited.routing.flipped.mean(axis=0).max()
    assert len(edited.worst(10**6)) == len(edited.tokens)
    assert len(flipped.to_pandas()) == 3
    for wrong in ({"n": 0}, {"n": "a"}, {"by": "size"}):
        with pytest.raises(LabError):
            edited.worst(**wrong)


def test_rows_are_plain_values_with_references(edited):
    frame = edited.to_pandas()
    assert {"answers", "tokens", "routing", "attention", "memory"} <= set(frame["part"])
    kl = frame[frame["measure"] == "KL, nats per token"].iloc[0]
    assert kl["change"] == edited.tokens.mean_kl
    assert kl["low"] <= kl["change"] <= kl["high"]
    assert kl["reference"] == edited.tokens.noise.mean()
    json.dumps(edited.to_dict(), allow_nan=False)


def test_every_side_may_be_interrupted_and_nothing_is_left(moe):
    before = hooks(moe.model)

    @contextmanager
    def broken():
        with moe.edit(EDIT):
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        gl.versus(moe, gl.evals.Variant(moe, broken), PROMPTS, **QUIET)
    assert hooks(moe.model) == before
    assert not moe.lock.locked()


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (("mini-moe", "mini-edge"), {}),
        ((None, None), {}),
        ((gl.Edit(), gl.Edit()), {}),
        ((lambda: 5, lambda: 5), {}),
        ((gl.load, gl.load), {"prompts": []}),
        ((gl.load, gl.load), {"prompts": 7}),
        ((gl.load, gl.load), {"prompts": [7]}),
        ((gl.load, gl.load), {"prompts": ["a"], "answers": "b"}),
        ((gl.load, gl.load), {"prompts": ["a"], "answers": ["b", "c"]}),
        ((gl.load, gl.load), {"prompts": ["a"], "checkup": 5}),
        ((gl.load, gl.load), {"prompts": ["a"], "rounds": -1}),
        ((gl.load, gl.load), {"prompts": ["a"], "max_new_tokens": 0}),
        ((gl.load, gl.load), {"prompts": ["a"], "attention_rows": 1.5}),
        ((gl.load, gl.load), {"prompts": ["a"], "names": "ab"}),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(arguments, keywords):
    with pytest.raises(LabError):
        gl.versus(*arguments, **keywords)


def test_an_edit_of_another_model_is_refused(moe, tiny_lab):
    with pytest.raises(LabError, match="another model"):
        gl.versus(moe, tiny_lab("E2B").edit(ablate_heads={0: [0]}), PROMPTS, **QUIET)
    with pytest.raises(BadEdit):
        gl.versus(moe, gl.Edit(ablate_experts={999: [1]}), PROMPTS, **QUIET)
    with pytest.raises(LabError):
        gl.evals.Variant(moe, None)


def test_skills_with_and_without_a_grammar_are_compared(moe):
    def checkup(model, grades):
        answers = [
            StructuredAnswer(number, f"case {number}", "tools", grammar, "r", "" if right else "wrong", True)
            for grammar, several in grades.items() for number, right in enumerate(several)
        ]  # fmt: skip
        return Checkup(
            model, [], not_asked={}, structured={"calls": ToolCallAccuracy(model, tuple(answers), {})}
        )

    pair = (
        checkup("a", {False: [1, 0, 0], True: [1, 1, 0]}),
        checkup("b", {False: [1, 1, 0], True: [1, 1, 1]}),
    )
    found = gl.versus(moe, moe, PROMPTS[:1], checkup=pair, **QUIET).checkup
    assert [skill.skill for skill in found.skills] == ["calls", "calls with grammar"]
    assert [skill.answers for skill in found.skills] == [PairedAnswers(1, 0, 1, 1), PairedAnswers(2, 0, 1, 0)]


@pytest.mark.parametrize("fails", [0, 1, 4])  # the first model's reading, its control, the second's
def test_an_answer_that_does_not_fit_one_model_is_not_read_there_and_the_others_are(moe, monkeypatch, fails):
    from gemma_lab.evals.versus import measurement

    read, count = measurement.read_answer, iter(range(100))

    def fails_once(*args, **options):
        if next(count) == fails:
            raise ContextFull("5 tokens are left.", hint="Ask for fewer.")
        return read(*args, **options)

    monkeypatch.setattr(measurement, "read_answer", fails_once)
    found = gl.versus(moe, EDIT, PROMPTS[:2], checkup=False, **QUIET)
    assert set(found.tokens.prompt) == {1}
    assert "5 tokens are left." in str(found)
