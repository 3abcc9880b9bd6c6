"""Writing systems and directions."""

from __future__ import annotations

import pytest

from gemma_lab.models.tokens.scripts import direction, script


@pytest.mark.parametrize(
    ("text", "code", "way"),
    [
        ("Straße", "Latn", "ltr"), ("ßé", "Latn", "ltr"), ("ế", "Latn", "ltr"), ("привет", "Cyrl", "ltr"),
        ("γεια", "Grek", "ltr"), ("مرحبا", "Arab", "rtl"), ("שלום", "Hebr", "rtl"), ("नमस्ते", "Deva", "ltr"),
        ("বাংলা", "Beng", "ltr"), ("ไทย", "Thai", "ltr"), ("日本", "Hani", "ltr"), ("ひらがな", "Hira", "ltr"),
        ("カタカナ", "Kana", "ltr"), ("한국어", "Hang", "ltr"), ("\u1112\u1161", "Hang", "ltr"),
        ("தமிழ்", "Taml", "ltr"), ("ߒߞߏ", "Nkoo", "rtl"), ("𞤀𞤣", "Adlm", "rtl"),
        ("123", "Zyyy", "neutral"), ("١٢٣", "Arab", "neutral"), (" ،", "Zyyy", "neutral"),
        ("🙂", "Zyyy", "neutral"), ("", "Zyyy", "neutral"), ("\u0301", "Zyyy", "neutral"),
        ("12 Äpfel", "Latn", "ltr"), ("«سلام", "Arab", "rtl"), ("\\xe2", "Latn", "ltr"),
    ],
)  # fmt: skip
def test_script_and_direction(text, code, way):
    assert script(text) == code
    assert direction(text) == way
