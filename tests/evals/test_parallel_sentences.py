"""The parallel sentences: all there, each in its own script."""

from __future__ import annotations

import unicodedata

import pytest

from gemma_lab.errors import LabError
from gemma_lab.evals.parallel_sentences import languages, sentences, translations
from gemma_lab.models.tokens.scripts import direction, script

SCRIPTS = {"Jpan": {"Hani", "Hira", "Kana"}, "Hans": {"Hani"}, "Kore": {"Hang"}}


def test_twenty_languages_german_arabic_and_vietnamese_first():
    codes = [language.code for language in languages()]
    assert codes[:3] == ["de", "ar", "vi"]
    assert len(codes) == len(set(codes)) == 20
    assert all(language.name and language.own_name for language in languages())


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.code)
def test_every_sentence_is_there_and_in_its_own_script(language):
    texts = sentences(language.code)
    assert list(texts) == list(sentences("en"))
    assert len(set(texts.values())) == len(texts) == 12
    allowed = SCRIPTS.get(language.script, {language.script})
    for text in texts.values():
        assert text == unicodedata.normalize("NFC", text) == text.strip()
        assert {script(character) for character in text} - {"Zyyy"} <= allowed
        assert direction(text) == language.direction


def test_no_two_languages_share_a_sentence():
    for key in sentences("en"):
        assert list(translations(key)) == [language.code for language in languages()]
        assert len(set(translations(key).values())) == 20


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(LabError, match=r"'xx'[\s\S]*de, ar, vi"):
        sentences("xx")
    with pytest.raises(LabError, match=r"'nothing'[\s\S]*market"):
        translations("nothing")
