"""Media through ``lab.trace``: the same answer as without it, places in time, and hashes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from support import shapes

from gemma_lab.models.chat import prefill_plan
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

FRAMES = [Image.new("RGB", (64, 48), (40 * n, 0, 0)) for n in range(4)]
TONE = (np.sin(np.arange(12_000) / 5).astype(np.float32), 16_000)


def given(size):
    media = {"images": [FRAMES[0]], "video": [(FRAMES, 2.0), (FRAMES[::-1], 0.02)]}
    return media | ({"audio": [TONE, (TONE[0][:7000], 16_000)]} if size in shapes.HEARS else {})


@pytest.mark.parametrize("size", shapes.SIZES)
def test_the_answer_is_that_of_chat_with_every_medium(tiny_lab, size):
    lab = tiny_lab(size)
    alone = lab.chat("What?", temperature=0, max_new_tokens=5, **given(size))
    trace = lab.trace("What?", max_new_tokens=5, **given(size))
    assert trace.generation.ids.tolist() == [token.id for token in alone.tokens]
    np.testing.assert_array_equal(trace.generation.logprobs, np.float32(alone.logprobs))
    assert len(trace) == alone.prompt_tokens + len(alone.tokens) - 1


@pytest.mark.parametrize("size", ["E2B", "26B-A4B", "12B"])
def test_tokens_know_their_frame_and_their_time(tiny_lab, size):
    tokens = tiny_lab(size).trace("What?", **given(size)).tokens
    film = tokens.modalities == "video"
    for medium, spans in enumerate(
        [
            [(0, 500), (500, 1000), (1000, 1500), (1500, 2000)],
            [(n * 50_000, (n + 1) * 50_000) for n in range(4)],
        ]
    ):
        for frame, span in enumerate(spans):
            rows = film & (tokens.media_index == medium) & (tokens.frames == frame)
            assert rows.sum() > 40
            assert {tuple(time) for time in tokens.times[rows].tolist()} == {span}
            assert tokens.boxes[rows].min(axis=0).tolist()[:2] == [0, 0]
            assert tokens.boxes[rows].max(axis=0).tolist()[2:] == [64, 48]
    if size in shapes.HEARS:
        for medium, samples in enumerate((12_000, 7_000)):
            rows = (tokens.modalities == "audio") & (tokens.media_index == medium)
            times = tokens.times[rows].tolist()
            assert times == [[40 * n, 40 * n + 40] for n in range(len(times))]
            assert times[-1][1] == pytest.approx(samples / 16, abs=41)


def test_the_timestamps_stand_in_the_prompt(tiny_lab):
    lab = tiny_lab("E2B")
    ids = prepare(lab, Request(conversation("What?", video=(FRAMES, 0.02)))).ids
    text = lab.tokenizer.decode(ids, skip_special_tokens=True)
    assert "00:00 " in text
    assert "00:50 " in text
    assert "01:40 " in text
    assert "02:30 " in text


@pytest.mark.parametrize("size", ["E2B", "31B"])
def test_pieces_agree_with_a_single_pass(tiny_lab, monkeypatch, size):
    lab = tiny_lab(size)
    asked = {"prompt": "A long story. " * 8, "max_new_tokens": 4, **given(size)}
    whole = lab.trace(**asked)
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 64)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 64)
    parts = lab.trace(**asked)
    assert parts.generation.ids.tolist() == whole.generation.ids.tolist()
    np.testing.assert_allclose(parts.generation.logprobs, whole.generation.logprobs, atol=1e-4)
    assert parts.tokens.equal(whole.tokens)


def test_digests_identify_media(tiny_lab):
    lab = tiny_lab("E2B")
    request = lab.trace("What?", max_soft_tokens=140, **given("E2B")).meta["request"]
    assert request["max_soft_tokens"] == 140
    assert [medium["kind"] for medium in request["media"]] == ["image", "video", "video", "audio", "audio"]
    film, sound = request["media"][1], request["media"][3]
    assert (film["frames"], film["of"], film["times_s"]) == (4, 4, [0.0, 0.5, 1.0, 1.5])
    assert (sound["samples"], sound["rate"]) == (12_000, 16_000)
    assert len({medium["sha256"] for medium in request["media"]}) == 5
    assert lab.request("Other words", **given("E2B")).to_meta()["media"] == request["media"]
    (message,) = request["messages"]
    assert message["content"][-1] == {"type": "text", "text": "What?"}


def test_a_trace_with_media_is_saved_and_read(tiny_lab, tmp_path):
    import gemma_lab

    trace = tiny_lab("E2B").trace("What?", max_new_tokens=2, **given("E2B"))
    assert gemma_lab.open_trace(trace.save(tmp_path / "t.trace")).equal(trace)
