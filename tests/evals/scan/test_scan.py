"""A scan: every finding beside its null, on every shape and on hostile prompts; knock-outs that are tests."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.evals.ablation.components import by_layer
from gemma_lab.evals.scan.against_chance import answer_depth, load_against_chance
from gemma_lab.evals.scan.answer_reading import AnswerReading
from gemma_lab.evals.scan.candidates import head_scores, rows_behind_answer, with_room
from gemma_lab.evals.scan.knockout import knock_out
from gemma_lab.models.chat.prompt import prepare
from gemma_lab.trace.interventions.edit import Edit
from gemma_lab.trace.probes.routers import routers
from gemma_lab.trace.records.served_routing import ServedRouting

TEXT = "Ada has a lemon and a red house. " * 2
NAMES = [
    "answer", "uncertain", "sinks", "head kinds", "expert load", "lens", "head knock-out", "expert knock-out",
]  # fmt: skip


@pytest.mark.parametrize("size", shapes.SIZES)
def test_every_shape_has_every_finding(tiny_lab, size):
    lab = tiny_lab(size)
    before = hooks(lab.model)
    scan = lab.scan(TEXT, max_new_tokens=4, draws=5, progress=False)
    assert hooks(lab.model) == before
    assert [one.name for one in scan.findings] == NAMES
    for one in scan.findings:
        assert one.result
        assert one.null or not one.tested
        assert all(0 <= row < len(scan.trace) for row in one.tokens)
    has_experts = bool(lab.architecture.experts)
    assert scan.finding("expert load").tested == has_experts == (scan.load is not None)
    assert has_experts or "no experts" in scan.finding("expert knock-out").result
    assert [one.kind for one in scan.knockouts] == ["heads", "experts"][: 1 + has_experts]
    assert scan.trace.generation.ids.tolist() == lab.trace(TEXT, max_new_tokens=4).generation.ids.tolist()
    html, text = scan._repr_html_(), str(scan)
    for one in scan.findings[1:]:
        assert one.title in html
        assert one.title in text
    assert "<script" not in html
    assert scan.figure().text
    assert scan.to_pandas()["name"].tolist() == NAMES
    json.dumps(scan.to_pandas()["result"].tolist())


def test_the_same_seed_gives_the_same_scan(tiny_lab):
    lab = tiny_lab("26B-A4B")
    one, other = (lab.scan(TEXT, max_new_tokens=2, draws=6, seed=3, progress=False) for _ in range(2))
    assert [f.result for f in one.findings] == [f.result for f in other.findings]
    third = lab.scan(TEXT, max_new_tokens=2, draws=6, seed=4, progress=False)
    assert any((a.controls != b.controls).any() for a, b in zip(one.knockouts, third.knockouts, strict=True))


def test_the_answer_is_read_as_the_model_wrote_it(tiny_lab):
    lab = tiny_lab("26B-A4B")
    trace = lab.trace(TEXT, max_new_tokens=5)
    request = gl.Request.from_meta(trace.meta, trace.images)
    reading = AnswerReading(lab, request, trace.generation.ids.tolist())
    assert reading.logprob() == pytest.approx(float(trace.generation.logprobs.mean()), abs=1e-4)
    edit = Edit(ablate_heads={0: [0, 1]})
    found = reading.logprob(edit)
    ids = [*prepare(lab, request).ids, *trace.generation.ids.tolist()]
    with lab.edit(edit), torch.no_grad():
        logits = lab.model(torch.tensor([ids[:-1]]), use_cache=False).logits[0]
    wanted = torch.log_softmax(logits.float(), -1)[-5:].gather(1, torch.tensor(ids[-5:])[:, None]).mean()
    assert found == pytest.approx(float(wanted), abs=1e-4)
    assert reading.logprob() == reading.logprob()


def test_candidates_are_the_heads_with_the_largest_weights(tiny_lab):
    lab = tiny_lab("31B")
    count = len(lab.trace(TEXT))
    wanted = gl.AttentionRequest(rows=range(count - 1, count + 2), top_k=8)
    trace = lab.trace(TEXT, max_new_tokens=3, attention=wanted)
    rows = rows_behind_answer(trace)
    assert rows.tolist() == [int(np.flatnonzero(trace.tokens.generated)[0]) - 1 + at for at in range(3)]
    scores = head_scores(trace)
    for (layer, head), score in list(scores.items())[::5]:
        found = []
        for row in rows.tolist():
            first, weights = trace.attention.full_rows[layer, row]
            keys = first + np.arange(weights.shape[1])
            found.append(weights[head][(keys > 0) & (keys != row)].max())
        assert score == pytest.approx(np.mean(found), abs=2e-3)


def test_a_knockout_counts_sets_that_do_as_much_damage():
    damage = {(0, n): 0.1 * n for n in range(8)} | {(1, n): 0.1 * n for n in range(8)}

    def logprob(edit):
        heads = {} if edit is None else edit.to_dict()["ablate_heads"]
        return -1.0 - sum(damage[int(layer), head] for layer, listed in heads.items() for head in listed)

    def run(scores, draws=30):
        return knock_out(
            "heads", scores, dict.fromkeys(damage, "local"), count=2, draws=draws, seed=0, statistic="s",
            match="m", logprob=logprob, intact=-1.0, advance=lambda: None,
        )  # fmt: skip

    best = run({unit: damage[unit] for unit in damage})
    assert best.chosen == ((0, 7), (1, 7))
    assert best.effect == pytest.approx(1.4)
    assert best.alone == pytest.approx((0.7, 0.7))
    assert best.p == pytest.approx(1 / 31)
    worst = run({unit: -damage[unit] for unit in damage})
    assert worst.p == 1.0
    few = run({unit: damage[unit] for unit in damage}, draws=500)
    assert len(few.controls) == 16 * 15 // 2 - 1  # every other pair, none twice
    assert "p = " in repr(best)


def test_candidates_that_were_chosen_by_chance_are_seldom_significant():
    rng = np.random.default_rng(0)
    units = [(layer, head) for layer in range(4) for head in range(4)]

    def logprob(edit):
        heads = edit.to_dict()["ablate_heads"]
        return -float(any(int(layer) == 1 and 2 in listed for layer, listed in heads.items()))  # one matters

    found = [
        knock_out(
            "heads", dict(zip(units, rng.random(len(units)), strict=True)), dict.fromkeys(units, "local"),
            count=4, draws=19, seed=seed, statistic="s", match="m", logprob=logprob, intact=0.0,
            advance=lambda: None,
        ).p for seed in range(200)
    ]  # fmt: skip
    assert np.mean(np.array(found) <= 0.05) <= 0.09  # 5 % and two standard errors; 25 % without that head


def test_the_lens_is_read_of_tokens_that_are_its_first_choice(tiny_lab):
    lab = tiny_lab("26B-A4B")
    options = {"max_new_tokens": 6, "logit_lens": True, "attention": True}
    greedy = answer_depth(lab.trace(TEXT, temperature=0, **options))
    assert len(greedy.rows) >= 6
    drawn = lab.trace(TEXT, temperature=5.0, top_k=0, top_p=1.0, seed=2, **options)
    lens, depth = drawn.logit_lens, answer_depth(drawn)
    first = int(rows_behind_answer(drawn)[0])
    own = [first + at for at, chosen in enumerate(drawn.generation.ids.tolist())
           if chosen == lens.target_ids[lens.positions.tolist().index(first + at), 0]]  # fmt: skip
    assert len(own) < 6
    assert [row for row in ([] if depth is None else depth.rows) if row < first + 6] == own


def test_even_loads_are_not_called_uneven():
    routing = arabic_trace().routing
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(20):
        ids = rng.random((len(routing.layers), 200, routing.experts)).argsort(-1)[..., : routing.top_k]
        even = ServedRouting(ids.astype(np.uint8), layers=routing.layers, experts=routing.experts)
        false += bool(load_against_chance(even, seed=0).above)
    assert false <= 4  # 5 % of 20 is 1
    ids[:, :, 0] = np.where((ids == 0).any(-1), ids[..., 0], 0)  # everybody chooses expert 0
    skewed = ServedRouting(ids.astype(np.uint8), layers=routing.layers, experts=routing.experts)
    assert load_against_chance(skewed, seed=0).above == routing.layers


@pytest.mark.parametrize(
    "prompt", ["a", "<b>&amp;</b>\u202e</script>", "\n" * 40, "مرحبا بالعالم " * 4, "😀" * 30]
)
def test_hostile_prompts(tiny_lab, prompt):
    lab = tiny_lab("E2B")
    scan = lab.scan(prompt, max_new_tokens=2, draws=2, progress=False)
    html = scan._repr_html_()
    assert "</script>" not in html
    assert "<b>&amp;" not in html
    assert "\n" not in repr(scan)
    assert "\u202e" not in str(scan)


def test_pictures_and_raw_prompts(tiny_lab):
    lab = tiny_lab("12B")
    image = Image.new("RGB", (60, 40), "red")
    assert lab.scan("What is it?", images=[image], max_new_tokens=2, draws=2, progress=False).knockouts
    short = lab.scan("a b", raw=True, max_new_tokens=1, draws=2, progress=False)
    assert not short.finding("sinks").tested


def test_arguments(tiny_lab):
    lab = tiny_lab("E4B")
    without = lab.scan(TEXT, max_new_tokens=2, draws=0, progress=False)
    assert without.knockouts == ()
    assert "draws=0" in without.finding("head knock-out").result
    for wrong in ({"max_new_tokens": 0}, {"draws": -1}, {"draws": 1.5}):
        with pytest.raises(LabError):
            lab.scan(TEXT, **wrong)
    with pytest.raises(TypeError):
        lab.scan(TEXT, no_such=1)
    with pytest.raises(LabError, match="knock"):
        without.finding("nothing")


@pytest.mark.parametrize(
    "edit",
    [
        Edit(force_experts={layer: [0, 1, 2] for layer in range(9)}),
        Edit(ablate_experts={1: range(119)}),
        Edit(ablate_experts=range(100), force_experts={1: [120]}),
        Edit(ablate_heads={0: [0, 1], 1: [2]}),
    ],
    ids=["forced", "few left", "both", "heads"],
)
def test_under_an_edit_only_what_it_leaves_is_knocked_out(tiny_lab, monkeypatch, edit):
    lab = tiny_lab("26B-A4B")
    layers = {router.layer: router for router in routers(lab.model)}
    edit = Edit(
        ablate_experts=edit.ablate_experts, ablate_heads=edit.ablate_heads,
        force_experts={layer: of for layer, of in edit.force_experts.items() if layer in layers},
    )  # fmt: skip
    tried, logprob = [], AnswerReading.logprob

    def kept(self, knocked_out=None):
        tried.append(knocked_out)
        return logprob(self, knocked_out)

    monkeypatch.setattr(AnswerReading, "logprob", kept)
    with lab.edit(edit):
        scan = lab.scan(TEXT, max_new_tokens=2, draws=30, progress=False)
    assert {one.kind for one in scan.knockouts} == {"heads", "experts"}
    assert len(tried) > 60
    for one in filter(None, tried):
        for layer, router in layers.items():
            ablated = set(edit.listed("ablate_experts", layer))
            gone = set(one.listed("ablate_experts", layer))
            assert not gone & (ablated | set(edit.listed("force_experts", layer)))
            assert len(gone | ablated) <= router.experts - router.top_k
        for layer, of in edit.ablate_heads.items():
            assert not set(of) & set(one.listed("ablate_heads", layer))
    kind = "heads" if edit.ablate_heads else "experts"
    found = next(one for one in scan.knockouts if one.kind == kind)
    assert "already" in found.match
    with lab.edit(edit):  # what it says of all candidates, read again
        request = gl.Request.from_meta(scan.trace.meta, scan.trace.images)
        reading = AnswerReading(lab, request, scan.trace.generation.ids.tolist())
        without = Edit(**{f"ablate_{kind}": by_layer(found.chosen)})
        assert reading.logprob() - reading.logprob(without) == pytest.approx(found.effect, abs=1e-5)


def test_an_edit_that_leaves_no_expert_to_knock_out_is_said(tiny_lab):
    lab = tiny_lab("26B-A4B")
    router = routers(lab.model)[0]
    with lab.edit(ablate_experts=range(router.experts - router.top_k)):
        scan = lab.scan(TEXT, max_new_tokens=2, draws=3, progress=False)
    finding = scan.finding("expert knock-out")
    assert not finding.tested
    assert "the active edit" in finding.result
    assert [one.kind for one in scan.knockouts] == ["heads"]


def test_as_many_units_of_a_layer_stay_candidates_as_can_be_ablated():
    scores = {(0, 5): 0.9, (0, 1): 0.8, (0, 2): 0.7, (1, 3): 0.1, (2, 0): 1.0}
    assert list(with_room(scores, {0: 2, 1: 9, 2: 0})) == [(0, 5), (0, 1), (1, 3)]


def test_too_few_sets_are_said_to_be_too_few(tiny_lab):
    scan = tiny_lab("31B").scan(TEXT, max_new_tokens=2, draws=5, progress=False)
    assert "too few" in scan.finding("head knock-out").result
