"""``lab.trace`` on all five shapes: the same answer as without it, one row a token that was read."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadEdit, BadTrace, ContextFull, DoesNotFit, LabError
from gemma_lab.models.chat import prefill_plan
from gemma_lab.trace.probes.attention.checks import OutputCheck
from gemma_lab.trace.probes.routing import RoutingProbe

RED = Image.new("RGB", (60, 40), "red")


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("images", [(), (RED,)], ids=["text", "picture"])
def test_the_answer_is_that_of_chat(tiny_lab, size, images):
    lab = tiny_lab(size)
    before = hooks(lab.model)
    alone = lab.chat("What is this?", images=images, temperature=0, max_new_tokens=8)
    trace = lab.trace("What is this?", images=images, max_new_tokens=8)
    assert trace.generation.ids.tolist() == [token.id for token in alone.tokens]
    np.testing.assert_array_equal(trace.generation.logprobs, np.float32(alone.logprobs))
    assert trace.generation.text == alone.text
    assert hooks(lab.model) == before
    assert len(trace) == alone.prompt_tokens + len(alone.tokens) - 1
    assert trace.tokens.generated.sum() == len(alone.tokens) - 1
    assert (trace.routing is not None) == (size == "26B-A4B")
    assert ("image" in set(trace.tokens.modalities)) == bool(images)
    if trace.routing is not None:
        assert len(trace.routing) == len(trace)


def test_a_prompt_alone_is_read_without_an_answer(tiny_lab):
    trace = tiny_lab("26B-A4B").trace("Hello")
    assert trace.generation is None
    assert not trace.tokens.generated.any()
    assert repr(trace).startswith("Trace(tiny-26B-A4B: ")


def test_traces_repeat_and_sampling_follows_the_seed(tiny_lab):
    lab = tiny_lab("26B-A4B")
    assert lab.trace("Hi", max_new_tokens=6).equal(lab.trace("Hi", max_new_tokens=6))
    drawn = [lab.trace("Hi", max_new_tokens=12, temperature=1.5, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0].equal(drawn[1])
    assert drawn[0].generation.ids.tolist() != drawn[2].generation.ids.tolist()


def test_meta_says_what_it_ran_on(tiny_lab):
    meta = tiny_lab("26B-A4B").trace("Hi", images=[RED], system="Be brief.").meta
    assert meta["model"] == "tiny-26B-A4B"
    assert (meta["spec"]["experts"], meta["spec"]["top_k"]) == (128, 8)
    assert meta["dtype"] == "float32"
    assert meta["versions"]["gemma_lab"] == gl.__version__
    assert meta["request"]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert meta["request"]["messages"][1]["content"] == [
        {"type": "image", "media": 0},
        {"type": "text", "text": "Hi"},
    ]
    (media,) = meta["request"]["media"]
    assert (media["width"], media["height"], len(media["sha256"])) == (60, 40, 64)
    assert meta["edit"] is None


def test_an_edit_is_applied_told_and_undone(tiny_lab):
    lab = tiny_lab("26B-A4B")
    plain = lab.trace("Hello", max_new_tokens=4)
    favourite = int(np.bincount(plain.routing.layer(0).ids.ravel()).argmax())
    edited = lab.trace("Hello", max_new_tokens=4, edit=gl.Edit(ablate_experts={0: [favourite]}))
    assert favourite not in edited.routing.layer(0).ids
    assert edited.meta["edit"]["ablate_experts"]
    with lab.edit(ablate_experts={0: [favourite]}):
        assert lab.trace("Hello", max_new_tokens=4).equal(edited)
    assert lab.trace("Hello", max_new_tokens=4).equal(plain)
    with pytest.raises(BadEdit):
        lab.trace("Hello", edit=gl.Edit(ablate_experts={99: [0]}))


def test_bad_requests_are_told_before_anything_runs(tiny_lab):
    lab = tiny_lab("26B-A4B")
    with pytest.raises(LabError, match="max_new_tokens=-1"):
        lab.trace("Hello", max_new_tokens=-1)
    with pytest.raises(ContextFull):
        lab.trace("word " * lab.context)


def test_a_conversation_goes_on(tiny_lab):
    lab = tiny_lab("26B-A4B")
    first = lab.chat("One?", temperature=0, max_new_tokens=3)
    trace = lab.trace("Two?", previous=first, max_new_tokens=2)
    assert [message["role"] for message in trace.meta["request"]["messages"]] == ["user", "assistant", "user"]


def test_a_long_prompt_is_read_in_pieces_and_says_the_same(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    asked = {"prompt": "A long story. " * 6, "images": [RED], "precision": "full"}
    whole = lab.trace(**asked)
    lengths = []
    watch = lab.model.register_forward_pre_hook(
        lambda _m, _a, given: lengths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    try:
        pieces = lab.trace(**asked)
    finally:
        watch.remove()
    assert sum(lengths) == len(whole) == len(pieces)
    assert sum(length > 16 for length in lengths) == 1  # the picture is not cut
    assert len(lengths) > 3
    assert pieces.meta["prefill"] == {
        "prompt_tokens": len(whole), "tokens_read": len(whole), "chunks": len(lengths), "complete": True,
    }  # fmt: skip
    # a random model's experts are nearly tied, and rounding differs with the length of a pass
    assert (pieces.routing.ids == whole.routing.ids).mean() > 0.98
    np.testing.assert_allclose(pieces.routing.entropy, whole.routing.entropy, atol=1e-4)


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("images", [(), (RED, RED)], ids=["text", "pictures"])
def test_a_long_prompt_goes_on_as_in_chat(tiny_lab, monkeypatch, size, images):
    lab = tiny_lab(size)
    asked = {"prompt": "A long story. " * 6, "images": images}
    plain = lab.chat(**asked, temperature=0, max_new_tokens=4)
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    alone = lab.chat(**asked, temperature=0, max_new_tokens=4)
    with lab.stream(**asked, temperature=0, max_new_tokens=4) as said:
        streamed = [token.logprob for chunk in said for token in chunk.tokens]
    trace = lab.trace(**asked, max_new_tokens=4)
    assert streamed == list(alone.logprobs)
    np.testing.assert_array_equal(trace.generation.logprobs, np.float32(alone.logprobs))
    np.testing.assert_allclose(alone.logprobs[0], plain.logprobs[0], atol=1e-5)
    assert trace.meta["prefill"]["chunks"] > 3
    assert len(trace) == alone.prompt_tokens + 3


@pytest.mark.parametrize("generate", [0, 4])
def test_an_interrupt_keeps_the_pieces_that_were_read(tiny_lab, monkeypatch, tmp_path, generate):
    lab = tiny_lab("26B-A4B")
    before = hooks(lab.model)
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    asked = {"prompt": "A long story. " * 9, "images": [RED]}
    whole = lab.trace(**asked)
    assert lab.interrupted_trace is None
    last = lab.model.model.language_model.layers[-1]
    real, calls = last.forward, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.trace(**asked, max_new_tokens=generate)
    assert hooks(lab.model) == before
    part = lab.interrupted_trace
    assert 0 < len(part) == len(part.routing) < len(whole)
    reading = part.meta["prefill"]
    assert (reading["tokens_read"], reading["prompt_tokens"], reading["complete"]) == (
        len(part),
        len(whole),
        False,
    )
    assert part.generation is None
    assert part.tokens.equal(whole.tokens.select(slice(0, len(part))))
    assert part.routing == whole.routing.select(slice(0, len(part)))
    assert gl.open_trace(part.save(tmp_path / "part.trace")).equal(part)
    lab.trace("Hi")
    assert lab.interrupted_trace is None


def test_a_capture_that_contradicts_itself_says_so_and_keeps_nothing(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    before = hooks(lab.model)
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    real, calls = OutputCheck.verify, []

    def doubtful(self):
        calls.append(1)
        if len(calls) > 1:
            raise BadTrace("The rows are off.")
        real(self)

    monkeypatch.setattr(OutputCheck, "verify", doubtful)
    with pytest.raises(BadTrace, match="The rows are off"):
        lab.trace("A long story. " * 9, attention=True)
    assert lab.interrupted_trace is None
    assert hooks(lab.model) == before


def test_an_interrupt_while_the_probes_keep_a_pass_keeps_no_trace_and_stays_an_interrupt(
    tiny_lab, monkeypatch
):
    lab = tiny_lab("26B-A4B")
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    real, calls = RoutingProbe.end, []

    def interrupted(self, seen):
        real(self, seen)
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(RoutingProbe, "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.trace("A long story. " * 9, attention=True)
    assert lab.interrupted_trace is None


def test_what_was_generated_before_an_interrupt_is_kept(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    last = lab.model.model.language_model.layers[-1]
    real, calls = last.forward, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.trace("Hello", max_new_tokens=8)
    part = lab.interrupted_trace
    assert part.meta["prefill"]["complete"]
    assert len(part.generation) == 3
    assert part.generation.finish_reason == "stopped"
    assert part.tokens.generated.sum() == 2


def test_another_threads_tokens_are_not_in_a_trace(tiny_lab):
    lab = tiny_lab("26B-A4B")
    alone = lab.trace("Hello", max_new_tokens=4)
    chats = [
        threading.Thread(target=lab.chat, args=("Somebody else",), kwargs={"max_new_tokens": 8, "seed": 1})
    ]
    chats += [
        threading.Thread(target=lab.chat, args=("And another",), kwargs={"max_new_tokens": 8, "seed": 2})
    ]
    for chat in chats:
        chat.start()
    traces = [lab.trace("Hello", max_new_tokens=4) for _ in range(3)]
    for chat in chats:
        chat.join()
    assert all(trace.equal(alone) for trace in traces)
    assert len(lab.last_reply.tokens) in (4, 8)


@pytest.mark.parametrize("generate", [0, 4])
def test_an_interrupt_goes_through_and_nothing_is_left(tiny_lab, monkeypatch, generate):
    lab = tiny_lab("26B-A4B")
    before = hooks(lab.model)
    last = lab.model.model.language_model.layers[-1]

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.trace("Hello", max_new_tokens=generate, edit=gl.Edit(ablate_experts={0: [3]}))
    assert hooks(lab.model) == before
    assert lab.trace("Hello", max_new_tokens=generate).equal(lab.trace("Hello", max_new_tokens=generate))


@pytest.mark.parametrize("generate", [0, 4])
def test_memory_that_runs_out_is_said_in_words(tiny_lab, monkeypatch, generate):
    lab = tiny_lab("26B-A4B")
    before = hooks(lab.model)

    def full(*_args, **_kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(lab.model.model.language_model.layers[-1], "forward", full)
        with pytest.raises(DoesNotFit, match="Memory ran out on cpu"):
            lab.trace("Hello", max_new_tokens=generate)
    assert hooks(lab.model) == before


def test_progress_is_shown_when_asked_for(tiny_lab, capsys):
    lab = tiny_lab("26B-A4B")
    quiet = lab.trace("Hello", max_new_tokens=3)
    assert capsys.readouterr().err == ""
    assert lab.trace("Hello", max_new_tokens=3, progress=True).equal(quiet)
    assert "trace of tiny-26B-A4B" in capsys.readouterr().err


def test_a_text_only_checkpoint_and_other_experts_implementations(tmp_path):
    lab = gl.load(shapes.tiny_text_checkpoint("26B-A4B", tmp_path), device="cpu", dtype="float32")
    traces = []
    for way in ("eager", "batched_mm", "grouped_mm"):
        lab.model.set_experts_implementation(way)
        alone = lab.chat("Hello", temperature=0, max_new_tokens=4)
        traces.append(lab.trace("Hello", max_new_tokens=4))
        assert traces[-1].generation.ids.tolist() == [token.id for token in alone.tokens]
        assert traces[-1].meta["experts_implementation"] == way
    assert len({len(trace.routing) for trace in traces}) == 1


def test_a_trace_is_kept_in_a_file(tiny_lab, tmp_path):
    trace = tiny_lab("26B-A4B").trace("Hello", images=[RED], max_new_tokens=3)
    assert gl.open_trace(trace.save(tmp_path / "a.trace")).equal(trace)
