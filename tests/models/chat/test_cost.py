"""What a prompt costs is what then happens: the ids that are read, and the cache that they fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.shapes import HEARS, SIZES

import gemma_lab.minis
from gemma_lab.errors import BadMedia, BadPrompt, LabError
from gemma_lab.family.architecture import from_config
from gemma_lab.models.chat.cost import cached_bytes
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request
from gemma_lab.models.chat.request_builder import frame_limit
from gemma_lab.models.media import SOFT_TOKEN_LIMITS
from gemma_lab.models.media.soft_tokens import soft_tokens

TEMPLATE = Path(gemma_lab.minis.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
NOISE = np.random.default_rng(0)


def drawn(width, height):
    return Image.fromarray(NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8))


def given(size):
    media = {
        "images": [drawn(100, 60), drawn(33, 200)],
        "video": [([drawn(64, 48)] * 4, 1.0), ([drawn(50, 90)] * 4, 0.02)],
    }
    if size in HEARS:
        media["audio"] = [(NOISE.uniform(-0.5, 0.5, n).astype(np.float32), 16_000) for n in (30_001, 7_777)]
    return media


def happened(lab, prompt, *, max_soft_tokens=None, thinking=False, system=None, **media):
    """Return the tokens that the processor really makes, by medium."""
    messages = conversation(prompt, system=system, frames=frame_limit(lab), **media)
    ids = prepare(lab, Request(messages, thinking=thinking, max_soft_tokens=max_soft_tokens)).ids
    marks = {kind: getattr(lab.processor, f"{kind}_token_id") for kind in ("image", "video", "audio")}
    counts = {kind: ids.count(mark) for kind, mark in marks.items() if ids.count(mark)}
    return {"text": len(ids) - sum(counts.values())} | counts


@pytest.mark.parametrize("size", SIZES)
def test_tokens_by_medium_are_those_of_the_processor(tiny_lab, size):
    lab = tiny_lab(size)
    media = given(size)
    assert lab.cost("What is it?", **media).tokens == happened(lab, "What is it?", **media)
    assert lab.cost("Hallo – 你好!", system="Be short.", thinking=True).tokens == happened(
        lab, "Hallo – 你好!", system="Be short.", thinking=True
    )


@pytest.mark.parametrize("max_soft_tokens", SOFT_TOKEN_LIMITS[:4])
def test_tokens_follow_the_budget(tiny_lab, max_soft_tokens):
    lab = tiny_lab("E2B")
    media = {"images": [drawn(640, 480), drawn(90, 700)], "video": ([drawn(80, 60)] * 2, 1.0)}
    cost = lab.cost("What?", max_soft_tokens=max_soft_tokens, **media)
    assert cost.tokens == happened(lab, "What?", max_soft_tokens=max_soft_tokens, **media)
    assert all(
        0.5 * max_soft_tokens < item.tokens <= max_soft_tokens for item in cost.media if item.kind == "image"
    )


def test_soft_tokens_are_those_of_transformers():
    from transformers.models.gemma4.processing_gemma4 import get_aspect_ratio_preserving_size

    sizes = [(1, 1), (896, 896), (4000, 30), (30, 4000), (1, 5000), (5000, 1), (17, 23), (1920, 1080)]
    sizes += [tuple(map(int, NOISE.integers(1, 3000, 2))) for _ in range(200)]
    for width, height in sizes:
        for max_soft_tokens in SOFT_TOKEN_LIMITS:
            target = get_aspect_ratio_preserving_size(height, width, 16, max_soft_tokens * 9, 3)
            expected = target[0] * target[1] // 48**2
            assert soft_tokens((width, height), max_soft_tokens=max_soft_tokens) == expected, (
                width,
                height,
                max_soft_tokens,
            )


@pytest.mark.parametrize("size", ["E2B", "12B"])
def test_every_length_of_sound(tiny_lab, size):
    lab = tiny_lab(size)
    lengths = [640, 641, 800, 801, 1279, 1280, 1281, 2080, 2081, 2240, 15_999, 16_000, 479_999, 480_000]
    for samples in lengths:
        sound = (np.zeros(samples, np.float32), 16_000)
        assert lab.cost("?", audio=sound).tokens == happened(lab, "?", audio=sound), samples


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("length", [8, 15, 16, 17, 60])
def test_cache_bytes_are_those_of_the_cache(tiny_lab, size, length):
    lab = tiny_lab(size)
    ids = torch.arange(30, 30 + length)[None]
    with torch.no_grad():
        cache = lab.model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values
        for _ in range(2):  # and after two steps of an answer
            held = [each for layer in cache.layers for each in (layer.keys, layer.values)]
            held = [each for each in held if each is not None]  # a layer that reads another's has none
            shape = from_config(lab.config.to_dict())
            assert sum(each.nbytes for each in held) == cached_bytes(shape, length, value_bytes=4)
            cache = lab.model(input_ids=ids[:, :1], past_key_values=cache, use_cache=True).past_key_values
            length += 1


def test_the_cache_covers_the_answer_but_its_last_token(tiny_lab):
    lab = tiny_lab("31B")
    prompt = lab.cost("Hello")
    assert lab.cost("Hello", max_new_tokens=1).kv_cache_bytes == prompt.kv_cache_bytes
    assert lab.cost("Hello", max_new_tokens=9).kv_cache_bytes > prompt.kv_cache_bytes
    trace = lab.trace("Hello", max_new_tokens=9)
    assert len(trace) == prompt.prompt_tokens + len(trace.generation) - 1


def test_continuing_counts_earlier_media(tiny_lab):
    lab = tiny_lab("E2B")
    reply = lab.chat("What is it?", images=[drawn(60, 60)], max_new_tokens=3, temperature=0)
    cost = lab.cost("And now?", previous=reply)
    assert cost.tokens["image"] == lab.cost("x", images=[drawn(60, 60)]).tokens["image"]
    assert cost.prompt_tokens == lab.chat("And now?", previous=reply, max_new_tokens=1).prompt_tokens


def weather(city: str, days: int = 1) -> dict:
    """Weather in a city."""
    raise AssertionError  # nothing may call it


CLOCK = {"type": "function", "function": {"name": "clock", "description": "What time it is: „jetzt“."}}


@pytest.mark.parametrize("size", ["E2B", "31B"])
def test_declared_tools_cost_what_they_take_in_chat(tiny_lab, monkeypatch, size):
    lab = tiny_lab(size)
    monkeypatch.setattr(lab.processor, "chat_template", TEMPLATE)  # the tiny one's own declares no tools
    bare = lab.cost("Rain?").prompt_tokens
    counts = [bare]
    for tools in ([weather], [weather, CLOCK]):
        asked = {"tools": tools, "system": "Be short.", "images": [drawn(60, 60)], "thinking": True}
        cost, reply = lab.cost("Rain?", **asked), lab.chat("Rain?", **asked, max_new_tokens=1)
        assert cost.prompt_tokens == reply.prompt_tokens
        counts.append(lab.cost("Rain?", tools=tools).prompt_tokens)
    assert counts == sorted(set(counts))
    # they stay declared, unless others are
    for tools in (None, [], [CLOCK]):
        cost = lab.cost("And now?", previous=reply, tools=tools)
        assert (
            cost.prompt_tokens
            == lab.chat("And now?", previous=reply, tools=tools, max_new_tokens=1).prompt_tokens
        )
    with pytest.raises(BadPrompt, match="Two tools are named weather"):
        lab.cost("Rain?", tools=[weather, weather])


def test_nothing_is_encoded(tiny_lab, monkeypatch):
    lab = tiny_lab("E2B")

    def refuse(*_, **__):
        raise AssertionError("the processor was asked for pixels")

    monkeypatch.setattr(type(lab.processor), "__call__", refuse)
    assert lab.cost("What?", images=[drawn(50, 50)]).tokens["image"] > 0


def test_too_long_is_said_and_not_raised(tiny_lab):
    cost = tiny_lab("E2B").cost("word " * 3000)
    assert not cost.fits
    assert "does not fit" in repr(cost)
    assert "does not fit" in cost._repr_html_()


def test_line_and_table(tiny_lab):
    lab = tiny_lab("E2B")
    cost = lab.cost("What?", max_new_tokens=20, **given("E2B"))
    line = repr(cost)
    assert line.startswith("Cost(")
    assert "\n" not in line
    for part in ("images", "video", "audio", "20 generated", "of 4,096", "KV cache"):
        assert part in line
    html = cost._repr_html_()
    for item in cost.media:
        assert item.size in html
        assert f"{item.tokens:,}" in html
    assert "<script" not in html


def test_errors_are_those_of_chat(tiny_lab):
    lab = tiny_lab("26B-A4B")
    with pytest.raises(BadMedia, match="sounds"):
        lab.cost("?", audio=(np.zeros(16_000), 16_000))
    with pytest.raises(BadMedia, match="=100 "):
        lab.cost("?", max_soft_tokens=100)
    with pytest.raises(BadPrompt, match="image"):
        lab.cost("<|image|>")
    with pytest.raises(LabError, match="max_new_tokens=-1"):
        lab.cost("?", max_new_tokens=-1)
