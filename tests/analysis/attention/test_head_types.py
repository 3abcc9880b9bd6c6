"""Heads built to be of one kind are found to be of it, and those that only seem so are not."""

from __future__ import annotations

import numpy as np
import pytest
from support.forged_heads import build_attention, even, looking, trace_of

from gemma_lab.analysis.attention.head_types import HEAD_THRESHOLDS, classify_heads
from gemma_lab.analysis.attention.prefix_matching import followers, prefix_matching, repeated_text
from gemma_lab.analysis.attention.retrieval_heads import RetrievalScores
from gemma_lab.errors import LabError

COUNT = 200


def repeated(seed=0):
    """Ids of blocks that come back after varying distances."""
    random = np.random.default_rng(seed)
    blocks = random.permutation(1000)[:100].reshape(20, 5)
    return np.concatenate([blocks, blocks[random.permutation(20)]]).ravel()


def kinds(*heads, windows=None, **more):
    images = more.get("images")
    attention = build_attention([list(heads)], windows=windows, images=images)
    made = {name: value for name, value in more.items() if name in ("ids", "scripts", "images")}
    asked = {name: value for name, value in more.items() if name not in made}
    return classify_heads(trace_of(attention, **made), **asked)


def test_a_head_of_each_positional_kind():
    found = kinds(
        even(COUNT), looking(COUNT, np.arange(COUNT) - 1), looking(COUNT, [0] * COUNT),
        looking(COUNT, np.arange(COUNT) - 9),
    )  # fmt: skip
    assert found.names == ("other", "previous token", "first token", "local")
    assert found.of("previous token") == ((0, 1),)
    assert found.of("local") == ((0, 1), (0, 3))
    assert found.scores["previous token"][1] == pytest.approx(0.9, abs=0.01)
    assert found.scores["first token"][2] == pytest.approx(0.9, abs=0.01)
    assert found.chance["previous token"][0] == pytest.approx((1 / np.arange(3, COUNT + 1)).mean())
    assert set(found.untested) == {"retrieval", "induction", "picture reading", "language bridging"}


def test_what_is_below_a_threshold_is_not_of_the_kind():
    found = kinds(looking(COUNT, np.arange(COUNT) - 1, share=0.45), looking(COUNT, [0] * COUNT, share=0.2))
    assert found.names == ("other", "other")


def test_induction_is_found_by_content_and_not_by_distance():
    ids = repeated()
    wanted = followers(ids)[:, 0]
    back = int(np.median((np.arange(COUNT) - wanted)[wanted >= 0]))
    found = kinds(
        looking(COUNT, wanted, share=0.6), looking(COUNT, np.arange(COUNT) - back), even(COUNT), ids=ids
    )
    assert found.of("induction") == ((0, 0),)
    assert found.scores["induction"][0] == pytest.approx(0.6, abs=0.02)
    assert found.chance["induction"][0] < 0.2


def test_a_fixed_distance_that_always_hits_is_not_induction():
    """One block said twice: a head that looks back by its length scores as high as an induction head can."""
    ids = np.tile(np.random.default_rng(0).permutation(1000)[:100], 2)
    score, chance, _ = prefix_matching(build_attention([[looking(COUNT, np.arange(COUNT) - 99)]]), ids)
    assert score[0] > 0.85
    found = kinds(looking(COUNT, np.arange(COUNT) - 99), ids=ids)
    assert found.passed["induction"].sum() == 0
    assert chance[0] == pytest.approx(score[0], abs=0.02)


def test_followers_of_earlier_places():
    found = followers(np.asarray([5, 6, 5, 7, 5, 5, 8]))
    assert found[4, :2].tolist() == [1, -1]
    assert found[5, :3].tolist() == [3, 1, -1]
    assert (found[[0, 1, 3, 6]] == -1).all()


def test_too_few_repeats_say_nothing():
    assert prefix_matching(build_attention([[even(30)]]), np.arange(30)) is None
    assert "repeated" in kinds(even(30)).untested["induction"]


def test_a_repeated_text_comes_back_at_varying_distances():
    words = repeated_text([f"w{number}" for number in range(500)], blocks=6, length=4, seed=3).split()
    assert len(words) == 48
    assert sorted(words[:24]) == sorted(words[24:])
    assert words[:24] != words[24:]


def test_picture_reading_needs_more_than_a_picture_that_fills_the_view():
    images = np.zeros(COUNT, dtype=bool)
    images[2:150] = True
    reads = looking(COUNT, np.where(np.arange(COUNT) >= 150, 40, -1), share=0.6)
    found = kinds(reads, even(COUNT), looking(COUNT, [0] * COUNT), images=images)
    assert found.of("picture reading") == ((0, 0),)
    assert found.scores["picture reading"][1] > 0.7
    assert found.chance["picture reading"][1] == pytest.approx(found.scores["picture reading"][1])


def test_a_local_head_that_no_longer_sees_the_picture_is_not_counted_there():
    images = np.zeros(COUNT, dtype=bool)
    images[2:20] = True
    found = kinds(even(COUNT, window=30), windows=[30], images=images)
    assert 0 < found.chance["picture reading"][0] < 0.6
    far = kinds(even(COUNT, window=4), windows=[4], images=images)
    assert far.untested["picture reading"].startswith("fewer than 8")


def test_bridging_by_script_and_by_given_languages():
    scripts = np.asarray(["Latn"] * 60 + ["Arab"] * 140)
    twin = np.where(np.arange(COUNT) >= 60, np.arange(COUNT) % 60, -1)
    bridge, near = looking(COUNT, twin, share=0.8), looking(COUNT, np.arange(COUNT) - 1, share=0.8)
    found = kinds(bridge, near, even(COUNT), scripts=scripts)
    assert found.of("language bridging") == ((0, 0),)
    same = kinds(bridge, near, even(COUNT), languages={"de": (0, 60), "en": (60, 200)})
    np.testing.assert_allclose(same.scores["language bridging"], found.scores["language bridging"])
    assert kinds(bridge).untested["language bridging"] == "only one script"


def test_retrieval_is_what_was_measured_on_answers():
    heads = ((0, 0), (0, 1))
    scores = RetrievalScores(heads, np.asarray([[0.5, 0.05]]), np.zeros(2))
    found = kinds(even(COUNT), even(COUNT), retrieval=scores)
    assert found.of("retrieval") == ((0, 0),)
    with pytest.raises(LabError, match="of 2 heads, the trace has 1 others"):
        kinds(even(COUNT), retrieval=scores)


def test_the_first_token_is_asked_of_those_that_see_it():
    """Beyond the window nobody can look at it."""
    found = kinds(looking(COUNT, [0] * 20 + [-1] * 180, share=0.8), windows=[20])
    assert found.of("first token") == ((0, 0),)
    assert found.local.tolist() == [True]


def test_it_prints_and_becomes_a_frame():
    found = kinds(even(COUNT), looking(COUNT, [0] * COUNT))
    assert repr(found) == "HeadTypes(2 heads, 200 tokens: 0 previous token, 1 first token, 0 local)"
    frame = found.to_pandas()
    assert len(frame) == 2 * len(HEAD_THRESHOLDS)
    assert frame[frame.passed].type.tolist() == ["first token"]
    with pytest.raises(LabError, match="'x'"):
        found.of("x")
    assert "not tested: no image" in found._repr_html_()


def test_a_text_that_is_too_short_is_not_judged():
    found = kinds(even(6))
    assert set(found.untested) == set(HEAD_THRESHOLDS)
