"""Gemma's manner on a small vocabulary: bytes where nothing fits, digits one by one, control tokens whole."""

from __future__ import annotations

import pytest

from gemma_lab.minis.tokenizer import CONTROL, token_id


@pytest.mark.parametrize(
    "text",
    [
        "Allemagne 47",
        "ثلاثة وعشرون",
        "सितंबर",
        "三十七、ドイツ",
        "bốn mươi bảy",
        "👩‍👩‍👧 ok",
        "a\nb",
        "ภาษาไทย",
    ],
)
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert token_id("unk_token") not in ids


def test_digits_are_split_one_by_one(tokenizer):
    assert tokenizer.tokenize("4711")[-4:] == ["4", "7", "1", "1"]


def test_control_tokens_are_one_token_with_gemma_4s_ids(tokenizer):
    for token, number in CONTROL.values():
        assert tokenizer.encode(token, add_special_tokens=False) == [number]
    assert token_id("eot_token") == 106
    assert token_id("soc_token") == 100


def _prompt(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)


def test_the_template_writes_gemma_4s_turns(tokenizer):
    asked = [{"role": "user", "content": "Hi"}]
    assert _prompt(tokenizer, asked) == (
        "<bos><|turn>user\nHi<turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    )
    assert _prompt(tokenizer, asked, enable_thinking=True) == (
        "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\nHi<turn|>\n<|turn>model\n"
    )


def test_system_first_pictures_in_place_and_old_thoughts_dropped(tokenizer):
    text = _prompt(
        tokenizer,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
            {"role": "assistant", "content": "<|channel>thought\nhm<channel|>seven"},
            {"role": "user", "content": "Sure?"},
        ],
    )
    assert text.startswith("<bos><|turn>system\nBe brief.<turn|>\n<|turn>user\n<|image|>What?<turn|>\n")
    assert "<|turn>model\nseven<turn|>\n" in text
    assert "hm" not in text
