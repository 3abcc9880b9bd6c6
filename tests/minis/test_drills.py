"""Each drill asks only for what its row tells."""

from __future__ import annotations

import random
import re

import pytest

from gemma_lab.minis.drills import Drills
from gemma_lab.minis.encoding import SKIP, Encoder
from gemma_lab.minis.tasks import recall, scenes
from gemma_lab.minis.tokenizer import token_id


@pytest.fixture
def drills(tokenizer):
    return Drills(Encoder(tokenizer), random.Random(3))


def test_repeats_ask_only_for_what_was_said_before(drills, tokenizer):
    row = drills.repeats(length=60)
    assert len(row.ids) == len(row.labels) <= 60
    starts = [i for i, token in enumerate(row.ids) if token == token_id("bos_token")]
    for start, end in zip(starts, [*starts[1:], len(row.ids)], strict=True):
        said = (end - start - 1) // 2
        first, second = row.ids[start + 1 : start + 1 + said], row.ids[start + 1 + said : end]
        assert first == second
        kept = row.labels[start:end]
        assert kept == [SKIP] * (said + 2) + second[1:]


def test_pairs_ask_for_what_belongs_to_a_key_in_another_order(drills, tokenizer):
    row = drills.pairs(length=90)
    starts = [i for i, token in enumerate(row.ids) if token == token_id("bos_token")]
    for start, end in zip(starts, [*starts[1:], len(row.ids)], strict=True):
        many = (end - start - 1) // 4
        told = row.ids[start + 1 : start + 1 + 2 * many]
        known = dict(zip(told[::2], told[1::2], strict=True))
        asked = row.ids[start + 1 + 2 * many : end]
        assert len(known) == many
        assert [known[key] for key in asked[::2]] == asked[1::2] == row.labels[start + 2 + 2 * many : end : 2]
        assert sorted(asked[::2]) == sorted(known)


def test_what_is_retold_carries_loss_on_its_values_alone(drills, tokenizer):
    row = drills.retold(length=10)
    text = tokenizer.decode(row.ids).removeprefix("<bos>")
    facts = [part.strip() for part in text.split(".") if part.strip()]
    half = len(facts) // 2
    assert sorted(facts[:half]) == sorted(facts[half:])
    kept = tokenizer.decode([label for label in row.labels if label != SKIP]).split()
    values = [fact.split()[-1] for fact in facts[half:]]
    assert "".join(kept) == "".join(values)


def test_steps_carry_loss_on_what_follows_from_the_sum(drills, tokenizer):
    row = drills.worked()
    assert len(row.ids) == len(row.labels) <= 192
    lines = tokenizer.decode(row.ids).replace("<bos>", "").splitlines()
    assert len(lines) > 8
    for line in lines:
        said, *results = line.split("=")
        assert all(eval(said.replace("×", "*")) == eval(result) for result in results), line
    kept = tokenizer.decode([label for label in row.labels if label != SKIP]).splitlines()
    assert kept == [line.partition("=")[2] for line in lines]
    assert row.ids == [piece for line in tokenizer.decode(row.ids).splitlines(keepends=True)
                       for piece in drills.encoder.ids(line)]  # fmt: skip


def test_questions_are_carried_over_a_piece_of_the_turn(drills, tokenizer):
    row = drills.asked(length=10)
    turn = tokenizer.decode(drills.encoder.turn)
    assert turn.endswith("<channel|>")
    kept = [label for label in row.labels if label != SKIP]
    assert kept
    assert token_id("eot_token") not in kept


def test_cues_about_a_picture_carry_loss_on_their_answers_alone(drills, tokenizer, monkeypatch):
    drawn = []
    cue = scenes.cue
    monkeypatch.setattr(scenes, "cue", lambda *given: drawn.append(cue(*given)) or drawn[-1])
    row = drills.shown(grid=4)
    assert len(row.ids) == len(row.labels)
    assert len(row.images) == 1
    assert row.ids.count(token_id("image_token")) == 16
    ends = [place for place, token in enumerate(row.ids) if token == token_id("eot_token")]
    kept = tokenizer.decode([label for label in row.labels if label != SKIP])
    assert kept == "".join(answer for _, answer in drawn)
    text = tokenizer.decode(row.ids)
    assert all(f" {asked}" in text for asked, _ in drawn)
    assert len(ends) >= len(drawn)  # one after each answer, and one in every long gap


@pytest.mark.parametrize("drill", ["watched", "eventful"])
def test_cues_about_a_clip_carry_loss_on_their_answers_alone(drill, drills, tokenizer):
    row = getattr(drills, drill)(grid=3)
    assert row.skill == drill
    assert [said["second"] for said in row.pictures] == [int(at) for at in row.clips[0].times]
    assert len(row.ids) == len(row.labels)
    (clip,) = row.clips
    soft = [token == token_id("video_token") for token in row.ids]
    assert sum(soft) == 9 * len(clip.frames) == len(row.news)
    first = soft.index(True)
    assert tokenizer.decode(row.ids[1 : first - 1]) == "00:00 "
    last = len(soft) - 1 - soft[::-1].index(True)
    assert all(label == SKIP for label in row.labels[: last + 1])
    assert sum(label != SKIP for label in row.labels) >= (9 if drill == "watched" else 4)
    assert token_id("eot_token") not in row.labels


def test_calls_are_asked_for_again_and_again_under_one_set_of_declared_functions(drills, tokenizer):
    row = drills.called()
    assert len(row.ids) == len(row.labels)
    text = tokenizer.decode(row.ids)
    system, *requests = text.split("<|turn>user\n")
    assert system.startswith("<bos><|turn>system")
    declared = set(re.findall(r"declaration:(\w+)", system))
    calls = [re.search(r"call:(\w+)", request)[1] for request in requests]
    assert len(calls) >= 8
    assert set(calls) <= declared
    assert len(set(calls)) > 1
    kept = tokenizer.decode([label for label in row.labels if label != SKIP])
    wanted = re.findall(r"(call:.*?<tool_call\|>)", text)
    assert kept == "".join(wanted)


def test_calls_pass_words_that_the_tokenizer_splits_otherwise_after_a_space_more_often(drills, tokenizer):
    for word in drills._recut:
        assert tokenizer.tokenize(f" {word}")[0].lstrip("▁") != tokenizer.tokenize(word)[0]
    passed = []
    for drills._recut in ((), ("polka",)):
        text = tokenizer.decode([token for _ in range(12) for token in drills.called().ids])
        passed.append(text.count("polka"))
    assert passed[1] > 10 + passed[0]


def test_drills_of_retrieval_and_calls_have_words_and_names_that_no_list_has(drills, tokenizer):
    text = tokenizer.decode([token for _ in range(40) for token in drills.retold(length=100).ids])
    known = {*recall.NAMES, *recall.THINGS, *recall.CITIES}
    said = set(re.findall(r"\b[A-Z][a-z]+\b", text)) - known
    assert len(said) > 20
    called = tokenizer.decode([token for _ in range(20) for token in drills.called().ids])
    assert any(re.search(r"[a-z][A-Z]", name) for name in re.findall(r"call:(\w+)", called))
    assert "<unk>" not in text + called
