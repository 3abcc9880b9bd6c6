"""Chat on tiny checkpoints of all five shapes: its own tokens and log-probabilities, its limits."""

from __future__ import annotations

import threading
from functools import wraps
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes

from gemma_lab import LabError, Sampling
from gemma_lab.errors import BadMedia, BadPrompt, ContextFull, DoesNotFit
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

RED = Image.new("RGB", (60, 40), "red")


def before_forward(monkeypatch, lab, act):
    """Call ``act(n)`` before the n-th forward of the model, counted from 1."""
    forward, calls = type(lab.model).forward, count(1)

    @wraps(forward)  # generate reads the signature
    def wrapped(self, *args, **kwargs):
        act(next(calls))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(lab.model), "forward", wrapped)


def plain(lab, prompt, **options):
    """What ``model.generate`` itself gives: the ids of the answer."""
    with torch.inference_mode():
        ids = lab.model.generate(**prompt.inputs, **options)
    return ids[0, len(prompt.ids) :].tolist()


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
def test_greedy_ids_are_those_of_generate(tiny_lab, size, images):
    lab = tiny_lab(size)
    prompt = prepare(lab, Request(conversation("What is this?", images=images)))
    reply = lab.chat("What is this?", images=images, temperature=0, max_new_tokens=20)
    assert [token.id for token in reply.tokens] == plain(lab, prompt, do_sample=False, max_new_tokens=20)
    assert reply.prompt_tokens == len(prompt.ids)
    assert prompt.images == tuple(images)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.5, 1.0, 0), Sampling(1.6, 0.8, 20)], ids=str)
def test_sampled_ids_are_those_of_generate_with_the_same_seed(tiny_lab, sampling):
    lab = tiny_lab("26B-A4B")
    prompt = prepare(lab, Request(conversation("Hello")))
    reply = lab.chat("Hello", sampling=sampling, seed=11, max_new_tokens=20)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        expected = plain(lab, prompt, do_sample=True, max_new_tokens=20, **sampling.to_dict())
    assert [token.id for token in reply.tokens] == expected


@pytest.mark.parametrize("size", shapes.SIZES)
def test_logprobs_are_the_models_own(tiny_lab, size):
    """Whatever temperature and top-k did to the choice, the numbers are those of a plain forward."""
    lab = tiny_lab(size)
    reply = lab.chat("Hello", images=[RED], temperature=1.7, top_k=30, top_p=0.9, seed=2, max_new_tokens=12)
    prompt = prepare(lab, Request(conversation("Hello", images=[RED])))
    ids = [token.id for token in reply.tokens]
    inputs = dict(prompt.inputs)
    inputs["input_ids"] = torch.tensor([prompt.ids + ids])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    kinds = inputs["mm_token_type_ids"]
    inputs["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, len(ids))], dim=1)
    with torch.inference_mode():
        logits = lab.model(**inputs).logits[0, len(prompt.ids) - 1 : -1]
    logprobs = logits.float().log_softmax(-1)
    chosen = logprobs[torch.arange(len(ids)), torch.tensor(ids)]
    np.testing.assert_allclose(reply.logprobs, chosen.numpy(), atol=1e-4)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    np.testing.assert_allclose([token.entropy for token in reply.tokens], entropy.numpy(), atol=1e-4)
    best = logprobs.topk(5)
    for token, values in zip(reply.tokens, best.values.tolist(), strict=True):
        np.testing.assert_allclose([other.logprob for other in token.top_logprobs], values, atol=1e-4)
    assert min(reply.logprobs) < -1  # something unlikely was drawn, or this proved nothing


def test_suppressed_tokens_are_never_said_but_keep_their_probability(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")
    free = lab.chat("Hello", temperature=0, max_new_tokens=1).tokens[0]
    monkeypatch.setattr(lab.model.generation_config, "suppress_tokens", [free.id])
    bound = lab.chat("Hello", temperature=0, max_new_tokens=1).tokens[0]
    assert bound.id != free.id
    assert bound.top_logprobs == free.top_logprobs
    prompt = prepare(lab, Request(conversation("Hello")))
    assert plain(lab, prompt, do_sample=False, max_new_tokens=1) == [bound.id]


def test_a_seed_repeats_and_the_global_random_state_stays(tiny_lab):
    lab = tiny_lab("E2B")
    before = torch.get_rng_state()
    first, second = (lab.chat("Hi", seed=5, max_new_tokens=16) for _ in range(2))
    assert first == second
    assert lab.chat("Hi", seed=6, max_new_tokens=16).tokens != first.tokens
    unseeded = lab.chat("Hi", max_new_tokens=16)
    assert lab.chat("Hi", seed=unseeded.seed, max_new_tokens=16) == unseeded
    assert torch.equal(before, torch.get_rng_state())


def hooks_of(model):
    # transformers leaves hooks of its own in a model once a test has asked it for hidden states
    return [
        (name, *module._forward_pre_hooks, *module._forward_hooks) for name, module in model.named_modules()
    ]


def test_chat_leaves_nothing_behind(tiny_lab):
    lab = tiny_lab("26B-A4B")
    config, hooks = lab.model.generation_config.to_dict(), hooks_of(lab.model)
    lab.chat("Hi", max_new_tokens=3, temperature=0.3)
    assert lab.model.generation_config.to_dict() == config
    assert hooks_of(lab.model) == hooks
    assert not lab.lock.locked()


def test_texts_join_and_alternatives_can_be_left_out(tiny_lab):
    lab = tiny_lab("12B")
    reply = lab.chat("Hi", seed=1, max_new_tokens=30, top_logprobs=0)
    assert "".join(token.text for token in reply.tokens if token.kind == "text") == reply.text
    assert all(token.top_logprobs == () for token in reply.tokens)
    assert lab.last_reply == reply
    many = lab.chat("Hi", seed=1, max_new_tokens=1, top_logprobs=4096).tokens[0]
    assert len(many.top_logprobs) == lab.vocabulary
    assert sum(np.exp(other.logprob) for other in many.top_logprobs) == pytest.approx(1, abs=1e-4)


def test_a_conversation_goes_on_and_can_branch(tiny_lab):
    lab = tiny_lab("E4B")
    first = lab.chat("One?", images=[RED], system="Count.", temperature=0, max_new_tokens=4)
    left = lab.chat("Two?", previous=first, temperature=0, max_new_tokens=4)
    right = lab.chat("Three?", previous=first, temperature=0, max_new_tokens=4)
    assert [message["role"] for message in left.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert left.messages[:3] == right.messages[:3] == first.messages
    same = lab.chat([*first.messages, {"role": "user", "content": "Two?"}], temperature=0, max_new_tokens=4)
    assert same == left
    prompt = prepare(lab, Request(left.messages[:-1]))
    assert left.prompt_tokens == len(prompt.ids)
    assert prompt.ids.count(lab.processor.image_token_id) == lab.cost(left.request).tokens["image"] > 0


def test_finish_says_what_ended_it(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")
    cut = lab.chat("Hi", seed=1, max_new_tokens=3)
    assert (cut.finish_reason, len(cut.tokens)) == ("length", 3)
    monkeypatch.setattr(lab.model.generation_config, "eos_token_id", [cut.tokens[1].id])
    ended = lab.chat("Hi", seed=1, max_new_tokens=3)
    assert (ended.finish_reason, len(ended.tokens)) == ("stop", 2)


def test_a_stop_event_ends_it_and_keeps_what_was_said(tiny_lab):
    lab, stop = tiny_lab("31B"), threading.Event()
    whole = lab.chat("Hi", seed=3, max_new_tokens=40)
    with pytest.MonkeyPatch.context() as patch:
        before_forward(patch, lab, lambda number: stop.set() if number == 5 else None)
        part = lab.chat("Hi", seed=3, max_new_tokens=40, stop=stop)
    assert part.finish_reason == "stopped"
    assert 0 < len(part.tokens) < len(whole.tokens)
    assert [token.id for token in part.tokens] == [token.id for token in whole.tokens[: len(part.tokens)]]
    nothing = lab.chat("Hi", stop=stop)
    assert (nothing.text, nothing.finish_reason, nothing.tokens) == ("", "stopped", ())


def test_an_interrupt_goes_through_and_leaves_the_partial_reply(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")

    def interrupt(number):
        if number == 4:
            raise KeyboardInterrupt

    before_forward(monkeypatch, lab, interrupt)
    with pytest.raises(KeyboardInterrupt):
        lab.chat("Hi", seed=3, max_new_tokens=40)
    assert lab.last_reply.finish_reason == "stopped"
    assert len(lab.last_reply.tokens) == 3
    assert not lab.lock.locked()
    assert not any(layer._forward_pre_hooks for layer in lab.model.get_decoder().layers)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_said_with_the_next_step(tiny_lab, monkeypatch, error):
    lab = tiny_lab("31B")

    def full(number):
        raise error

    before_forward(monkeypatch, lab, full)
    with pytest.raises(DoesNotFit, match="Memory ran out on cpu") as caught:
        lab.chat("Hi")
    assert "smaller" in caught.value.hint


def test_another_error_of_the_model_is_not_dressed_up(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")

    def broken(number):
        raise RuntimeError("shapes cannot be multiplied")

    before_forward(monkeypatch, lab, broken)
    with pytest.raises(RuntimeError, match="multiplied") as caught:
        lab.chat("Hi")
    assert not isinstance(caught.value, LabError)


def test_a_full_context_says_by_how_much(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    prompt = prepare(lab, Request(conversation("Hello", images=[RED])))
    size = len(prompt.ids)
    monkeypatch.setattr(lab, "context", size + 3)
    reply = lab.chat("Hello", images=[RED], max_new_tokens=512, seed=1)
    assert (reply.finish_reason, len(reply.tokens)) == ("length", 3)
    monkeypatch.setattr(lab, "context", size - 9)
    soft = lab.cost("Hello", images=[RED]).tokens["image"]
    says = rf"{size} tokens \({soft} of them for 1 image\).* is {size - 9}.* 10 too many"
    with pytest.raises(ContextFull, match=says):
        lab.chat("Hello", images=[RED])
    with pytest.raises(ContextFull):
        lab.stream("Hello", images=[RED])


def test_pictures_for_a_model_without_eyes(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    monkeypatch.setattr(lab, "modalities", frozenset({"text"}))
    with pytest.raises(BadMedia, match="images") as caught:
        lab.chat("What?", images=[RED])
    for size in shapes.SIZES:
        assert size in caught.value.hint


def test_media_for_a_model_without_their_tower_name_those_that_have_it(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")
    with pytest.raises(BadMedia, match="audio tower") as caught:
        lab.chat("What?", audio=(np.zeros(16_000), 16_000))
    assert "mini-edge, mini-unified, E2B, E4B, 12B" in caught.value.hint
    monkeypatch.setattr(lab, "modalities", frozenset({"text"}))
    with pytest.raises(BadMedia, match="videos") as caught:
        lab.stream("What?", video=([RED], 1.0))
    assert "E2B" in caught.value.hint


def test_the_budget_changes_what_is_seen(tiny_lab):
    lab = tiny_lab("E2B")
    sizes = [
        lab.chat("?", images=[RED], max_soft_tokens=b, max_new_tokens=1).prompt_tokens for b in (70, 140, 280)
    ]
    assert sizes == sorted(set(sizes))
    with pytest.raises(BadMedia, match="=71 ") as caught:
        lab.chat("?", max_soft_tokens=71)
    assert "70, 140, 280, 560, 1120" in caught.value.hint


@pytest.mark.parametrize("shape", [(1, 1), (3000, 1), (2, 5000)], ids=str)
def test_pictures_of_extreme_shapes_are_taken(tiny_lab, shape):
    reply = tiny_lab("26B-A4B").chat("What?", images=[Image.new("RGB", shape)], seed=1, max_new_tokens=2)
    assert reply.prompt_tokens > 60


def test_prompts_that_the_format_cannot_hold(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")
    with pytest.raises(BadPrompt, match=r"<\|image\|>"):
        lab.chat("What is <|image|>?")
    monkeypatch.setattr(lab.processor, "chat_template", "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadPrompt, match="roles must alternate"):
        lab.chat("Hi")
    monkeypatch.setattr(lab.processor, "chat_template", None)
    monkeypatch.setattr(lab.tokenizer, "chat_template", None)
    with pytest.raises(BadPrompt, match="no chat template"):
        lab.chat("Hi")


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seed": 1.5}, {"max_new_tokens": 0}, {"top_logprobs": -1}, {"temperature": -1}]
)
def test_a_wrong_setting_is_named(tiny_lab, wrong):
    for ask in (tiny_lab("E2B").chat, tiny_lab("E2B").stream):
        with pytest.raises(LabError, match=next(iter(wrong))):
            ask("Hi", **wrong)


def test_an_empty_prompt_is_asked_as_it_is(tiny_lab):
    assert tiny_lab("E2B").chat("", seed=1, max_new_tokens=2).prompt_tokens > 0


def test_a_thought_left_open_by_the_template_is_folded_out(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")
    opened = lab.processor.chat_template + "{% if enable_thinking %}<|channel>thought\n{% endif %}"
    monkeypatch.setattr(lab.processor, "chat_template", opened)
    reply = lab.chat("Hi", thinking=True, seed=1, max_new_tokens=6)
    assert "".join(token.text for token in reply.tokens if token.kind == "thought") == reply.thinking != ""
    assert reply.messages[-1]["reasoning"] == reply.thinking
    assert lab.chat("Hi", thinking=False, seed=1, max_new_tokens=6).thinking == ""
