"""The minis' tokenizer: built like Gemma's (BPE, byte fallback, single digits), with a small vocabulary.

The control tokens below id 107 have the ids of Gemma 4; the media tokens follow directly, since a vocabulary
of a few thousand tokens has no id 255,999.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: role -> (token, id); ids as in Gemma 4 up to 106
CONTROL = {
    "pad_token": ("<pad>", 0), "eos_token": ("<eos>", 1), "bos_token": ("<bos>", 2),
    "unk_token": ("<unk>", 3), "mask_token": ("<mask>", 4),
    "std_token": ("<|tool>", 46), "etd_token": ("<tool|>", 47),
    "stc_token": ("<|tool_call>", 48), "etc_token": ("<tool_call|>", 49),
    "str_token": ("<|tool_response>", 50), "etr_token": ("<tool_response|>", 51),
    "escape_token": ('<|"|>', 52), "think_token": ("<|think|>", 98),
    "soc_token": ("<|channel>", 100), "eoc_token": ("<channel|>", 101),
    "sot_token": ("<|turn>", 105), "eot_token": ("<turn|>", 106),
    "image_token": ("<|image|>", 107), "boi_token": ("<|image>", 108), "eoi_token": ("<image|>", 109),
    "audio_token": ("<|audio|>", 110), "boa_token": ("<|audio>", 111), "eoa_token": ("<audio|>", 112),
    "video_token": ("<|video|>", 113),
}  # fmt: skip
_BASIC = ("pad_token", "eos_token", "bos_token", "unk_token", "mask_token")
#: words of the chat format that must be one token each
_WORDS = ("\n", "model", "user", "system", "thought")
_OFTEN = 100_000  # times, more than anything occurs in a corpus


def token_id(role: str) -> int:
    """Return the id of a control token by its role, e.g. ``"eot_token"``."""
    return CONTROL[role][1]


def build_tokenizer(corpus: Iterable[str], *, vocab_size: int = 8192) -> Any:
    """Train the BPE on a corpus and return it as transformers' ``GemmaTokenizer`` with the chat template.

    Parameters
    ----------
    corpus
        Texts to train on.
    vocab_size
        Number of token ids, including control tokens and the 256 byte tokens.
    """
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import GemmaTokenizer

    named = {number: token for token, number in CONTROL.values()}
    fixed = [named.get(number, f"<unused{number}>") for number in range(max(named) + 1)]
    fixed += [*_WORDS, *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(BPE(byte_fallback=True, unk_token=CONTROL["unk_token"][0]))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("▁", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"\d|\n"), "isolated"),
        pre_tokenizers.Punctuation("isolated"),
    ])  # fmt: skip
    trainer = BpeTrainer(vocab_size=vocab_size, special_tokens=fixed, show_progress=False, min_frequency=2)
    # A word in the vocabulary is still split unless merges produce it: the words of the format are repeated
    # so often that their merges are learned first.
    common = [word for word in _WORDS if word.isalpha()] * _OFTEN
    trained.train_from_iterator([*common, *corpus], trainer)
    model = _model_part(trained)
    basic = {role: CONTROL[role][0] for role in _BASIC}
    extra = {role: token for role, (token, _) in CONTROL.items() if role not in _BASIC}
    merges: Any = [tuple(pair) for pair in model["merges"]]
    tokenizer = GemmaTokenizer(
        vocab=model["vocab"],
        merges=merges,
        **basic,
        extra_special_tokens=extra,
    )
    # Gemma's own pre-tokenizer separates all digits; a trained BPE must be configured to do so.
    tokenizer.backend_tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.chat_template = chat_template()
    return tokenizer


def chat_template() -> str:
    """Return the minis' chat template, as Jinja."""
    return Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")


def _model_part(tokenizer: Any) -> dict[str, Any]:
    import json

    part: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return part
