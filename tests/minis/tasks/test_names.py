"""Names in twelve languages: CLDR's, each in its own script, whatever else Babel has loaded before."""

from __future__ import annotations

import random

from babel import Locale

from gemma_lab.minis.tasks import names


def test_months_keep_their_language_after_others_were_loaded():
    for code in ("zh", "it", "th"):  # Chinese months used to be found under languages loaded after it
        assert Locale.parse(code).months["stand-alone"]["wide"][1]
    names.things.cache_clear()
    march = names.things()["month 3"]
    assert march["de"] == "März"
    assert march["tr"] == "Mart"
    assert march["ru"] == "март"  # not the genitive of a date
    assert march["zh"] == "三月"
    assert march["ko"] == "3월"


def test_twelve_languages_in_both_directions():
    rng = random.Random(0)
    assert len(names.LANGUAGES) == 12
    assert {"de", "ar", "vi"} < set(names.LANGUAGES)
    for held in (True, False):
        assert {names.ask(rng, held).group for _ in range(600)} == set(names.LANGUAGES)


def test_a_held_out_pairing_is_held_out_under_every_spelling():
    said = names.things()
    held = {
        (said[thing][source], target, said[thing][target])
        for thing in said for source in names.LANGUAGES for target in names.LANGUAGES
        if source != target and names.is_held_out(thing, source, target)
    }  # fmt: skip
    assert len(held) > 500
    rng = random.Random(3)
    for _ in range(2000):
        question = names.ask(rng, False)
        name = question.prompt.split("“")[1].split("”")[0]
        assert (name, question.group, question.answer) not in held
