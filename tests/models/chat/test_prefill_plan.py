"""How large the pieces of a long prompt are, and where they may end."""

from __future__ import annotations

import pytest
from PIL import Image
from support import shapes

from gemma_lab.errors import DoesNotFit
from gemma_lab.family.architecture import get_architecture
from gemma_lab.models.chat import prefill_plan
from gemma_lab.models.chat.messages import conversation
from gemma_lab.models.chat.prefill_plan import PrefillMemory, plan
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.models.chat.request import Request

RED = Image.new("RGB", (60, 40), "red")


def prompt_of(lab, text, images=()):
    return prepare(lab, Request(conversation(text, images=images)))


def test_a_short_prompt_is_read_in_one_pass(tiny_lab):
    lab = tiny_lab("26B-A4B")
    made = plan(lab, prompt_of(lab, "Hello"))
    assert made.single_pass
    assert made.stops == (len(prompt_of(lab, "Hello").ids),)


def test_less_memory_gives_smaller_pieces_and_too_little_is_said_with_numbers(tiny_lab, monkeypatch):
    lab = tiny_lab("31B")
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    prompt = prompt_of(lab, "word " * 400)
    total = len(prompt.ids)
    need = PrefillMemory.of(architecture_of(lab), value_bytes=4)
    sizes = []
    for piece in (1024, 512, 256, 128, 64):
        made = plan(lab, prompt, free=int(need.bytes(piece, total) / prefill_plan.MEMORY_FRACTION) + 1)
        assert made.stops[-1] == total
        assert max(b - a for a, b in zip((0, *made.stops), made.stops, strict=False)) <= made.chunk
        sizes.append(made.chunk)
    assert sizes == [1024, 512, 256, 128, 64]
    with pytest.raises(DoesNotFit, match=r"64; .* free on cpu"):
        plan(lab, prompt, free=need.bytes(64, total) - 1)


def architecture_of(lab):
    from gemma_lab.family.architecture import from_config

    return from_config(lab.config.to_dict())


@pytest.mark.parametrize("size", shapes.SIZES)
def test_the_need_follows_the_true_configuration(size):
    """A token of context costs the cache of the global layers, and one layer's copies: no window, no tail."""
    shape = get_architecture(size)
    need = PrefillMemory.of(shape, value_bytes=2)
    slope = {"E2B": 6, "E4B": 16, "12B": 16, "26B-A4B": 20, "31B": 80}[size] * 1024  # KiB a token
    globals_ = [layer for layer in shape.owners if layer.window is None]
    one = max(2 * layer.kv_heads * layer.head_dim for layer in globals_) * 2
    repeated = max(2 * layer.heads * layer.head_dim for layer in globals_) * 2
    assert need.context == slope + one + repeated
    assert need.pair == 5
    assert PrefillMemory.of(shape, value_bytes=2, eager=True).pair > 8 * shape.layers[0].heads


def test_no_piece_ends_inside_a_picture_and_the_last_one_has_none(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 16)
    told = [
        {"type": "text", "text": "One picture here, and much text. " * 2}, {"type": "image", "image": RED},
        {"type": "text", "text": "And another one: "}, {"type": "image", "image": RED},
    ]  # fmt: skip
    prompt = prompt_of(lab, [{"role": "user", "content": told}])
    kinds = prompt.inputs["mm_token_type_ids"][0].tolist()
    stops = plan(lab, prompt).stops
    assert stops[-1] == len(prompt.ids)
    assert all(kinds[stop - 1] == 0 or kinds[stop] == 0 for stop in stops[:-1])
    assert not any(kinds[stops[-2] :])
    assert sorted(set(stops)) == list(stops)
    assert sum(any(kinds[a:b]) for a, b in zip((0, *stops), stops, strict=False)) == 2  # each by itself


def test_masks_stay_small_however_much_memory_is_free(tiny_lab, monkeypatch):
    lab = tiny_lab("26B-A4B")
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 20)
    prompt = prompt_of(lab, "word " * 400)
    assert plan(lab, prompt, free=1 << 60).chunk == 1024
    pair = PrefillMemory.of(architecture_of(lab), value_bytes=4).pair
    monkeypatch.setattr(prefill_plan, "MASK_BYTES", pair * len(prompt.ids) * 300)
    assert plan(lab, prompt, free=1 << 60).chunk == 256
