"""Causal maps are equal to patching cell by cell, on every shape, for every part."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadPrompt, DoesNotFit, LabError
from gemma_lab.evals.causal.cells import BY_SPAN, PARTS
from gemma_lab.evals.causal.grid import CausalEffect
from gemma_lab.lab import Lab
from gemma_lab.trace.interventions.head_ablation import heads_of
from gemma_lab.trace.probes.model_modules import layers_of

CLEAN, CORRUPTED = "The code of Ben is 75. Which is it?", "The code of Ben is 31. Which is it?"
#: Float32, other matrix shapes.
NOISE = 1e-5


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    return Lab(
        model=shapes.tiny_model(request.param), processor=shapes.tiny_processor(request.param), name="tiny"
    )


@pytest.fixture(scope="module")
def whole(lab):
    return lab.causal_map(CLEAN, CORRUPTED, parts="all", controls=0, progress=False)


def logprob(lab, request, token):
    return float(lab.next_token(request).logprobs[token])


def some_cells(found, part, count, seed=0):
    grid = found.grid(part)
    places = np.argwhere(np.isfinite(grid.effects) & (grid.effects != 0))
    chosen = np.random.default_rng(seed).permutation(len(places))[:count]
    return [
        CausalEffect(part, grid.layers[row], int(column), float(grid.effects[row, column]), None)
        for row, column in places[chosen]
    ]


def test_its_ends_are_the_plain_runs(lab, whole):
    (token,) = whole.answer
    assert token == int(np.argmax(lab.next_token(CLEAN).logprobs))
    assert whole.clean_logprob == pytest.approx(logprob(lab, CLEAN, token), abs=NOISE)
    assert whole.corrupted_logprob == pytest.approx(logprob(lab, CORRUPTED, token), abs=NOISE)


def test_every_part_is_that_of_patching_by_an_edit(lab, whole):
    expected = set(PARTS) if lab.architecture.experts else set(PARTS) - {"experts", "expert"}
    assert set(whole.parts) == expected
    for part in whole.parts:
        for cell in some_cells(whole, part, 4):
            with lab.edit(whole.edit(lab, cell)):
                patched = logprob(lab, CORRUPTED, whole.answer[0])
            assert patched - whole.corrupted_logprob == pytest.approx(cell.effect, abs=NOISE), cell


def test_a_head_is_that_of_a_hook_of_the_tests_own(lab, whole):
    """Independent of how cells are made: the head's slice of what ``o_proj`` is given."""
    (token,) = whole.answer
    for cell in some_cells(whole, "head", 3, seed=1):
        found = heads_of(lab.model)[cell.layer]
        kept: list[torch.Tensor] = []
        handle = found.output.register_forward_pre_hook(
            lambda _m, args, kept=kept: kept.append(args[0].clone())
        )
        lab.trace(CLEAN)
        handle.remove()

        def replace(_module, args, whole_output=kept[0], count=found.count, head=cell.column):
            width = args[0].shape[-1] // count
            mixed = args[0].clone()
            part = slice(head * width, (head + 1) * width)
            mixed[..., part] = whole_output[:, -mixed.shape[1] :, part]
            return (mixed,)

        handle = found.output.register_forward_pre_hook(replace)
        patched = logprob(lab, CORRUPTED, token)
        handle.remove()
        assert patched - whole.corrupted_logprob == pytest.approx(cell.effect, abs=NOISE)


def test_the_last_token_after_the_last_layer_says_what_the_clean_run_says(whole):
    effects = whole.effects("residual", measure="normalised")
    assert effects[-1, -1] == pytest.approx(1, abs=1e-4)
    assert not whole.effects("residual")[:, : whole.differing[0]].any()  # the same in both prompts
    assert not whole.effects("residual")[-1, :-1].any()  # read by nothing


def test_noising_is_the_same_the_other_way_round(lab, whole):
    found = lab.causal_map(CLEAN, CORRUPTED, patching="noising", controls=0, progress=False)
    swapped = lab.causal_map(CORRUPTED, CLEAN, answer=list(found.answer), controls=0, progress=False)
    np.testing.assert_allclose(found.effects(), swapped.effects(), atol=NOISE)
    assert found.effects()[-1, -1] == pytest.approx(-whole.gap, abs=1e-4)
    assert found.effects(measure="normalised")[-1, -1] == pytest.approx(0, abs=1e-4)
    # effects that are equal to a thousandth keep the order of the map
    assert found.sign * found.top(1)[0].effect == pytest.approx(
        (found.sign * found.effects()).max(), abs=1e-3
    )


def test_answers_of_several_tokens_and_spans(lab):
    found = lab.causal_map(
        CLEAN, CORRUPTED, answer="ab!", spans=[(0, 5), (5, 40), (40, 42)], controls=0, progress=False
    )
    assert len(found.answer) == 3
    assert found.effects().shape == (len(layers_of(lab.model)), 3)
    ids = [int(each) for each in found.corrupted_tokens.ids]
    ids_clean = [int(each) for each in found.clean_tokens.ids]
    activations = lab.activations(ids_clean, layers=[1], positions=range(5, 40), raw=True)
    with lab.edit(patch=activations), torch.no_grad():
        logits = lab.model(input_ids=torch.tensor([ids])).logits[0, -3:].log_softmax(-1)
    expected = sum(float(logits[row, token]) for row, token in enumerate(found.answer))
    assert found.effects()[1, 1] == pytest.approx(expected - found.corrupted_logprob, abs=NOISE)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_size_of_a_batch_changes_nothing(lab, whole, batch_size):
    found = lab.causal_map(CLEAN, CORRUPTED, controls=0, batch_size=batch_size, progress=False)
    np.testing.assert_allclose(found.effects(), whole.effects(), atol=NOISE)


def test_pictures_align_and_blocks_of_them_are_patched_from_their_start(lab):
    """Where soft tokens of a picture attend to each other, a patch reaches those before it."""
    red, blue = (Image.new("RGB", (96, 96), color) for color in ("red", "blue"))
    clean, corrupted = (lab.request("Which?", images=[each], max_soft_tokens=70) for each in (red, blue))
    found = lab.causal_map(clean, corrupted, controls=0, progress=False)
    soft = np.flatnonzero(found.clean_tokens.modalities == "image")
    assert found.differing == tuple(soft)
    token, layer = int(soft[len(soft) // 2]), 1
    patch = lab.activations(clean, layers=[layer], positions=[token])
    with lab.edit(patch=patch):
        patched = logprob(lab, corrupted, found.answer[0])
    assert patched - found.corrupted_logprob == pytest.approx(found.effects()[layer, token], abs=NOISE)


def test_the_gradient_is_that_of_small_steps(lab, whole):
    """Its estimate is the slope towards the clean activations, at the corrupted run."""
    found = lab.causal_map(CLEAN, CORRUPTED, method="gradient", parts="all", controls=0, progress=False)
    step, right = 0.02, []
    for part in ("residual", "mlp"):
        for cell in some_cells(found, part, 4):
            (patch,) = whole.edit(lab, cell).patch
            before = lab.activations(CORRUPTED, layers=patch.layers, positions=patch.positions, site=part)
            sides = []
            for sign in (1, -1):  # both, so that curvature cancels
                moved = before.values + sign * step * (patch.source.values - before.values)
                with lab.edit(patch=gl.Activations(patch.layers, patch.positions, moved, "tiny", part)):
                    sides.append(logprob(lab, CORRUPTED, whole.answer[0]))
            change = (sides[0] - sides[1]) / 2
            right.append(change / step == pytest.approx(cell.effect, rel=0.15, abs=2e-3))
    # the choice of experts jumps, which no gradient knows
    assert sum(right) >= (6 if lab.architecture.experts else 8)
    agreement = whole.agreement(found)
    assert -1 <= agreement.low <= agreement.rho <= agreement.high <= 1
    assert whole.agreement(whole).rho == pytest.approx(1)


def test_controls_are_a_null_for_all_cells_of_a_family(lab):
    found = lab.causal_map(CLEAN, CORRUPTED, controls=4, progress=False)
    grid = found.grid("residual")
    assert grid.controls.shape == (4, *grid.effects.shape)
    assert np.isfinite(grid.controls).all()
    for family in (grid.readout, ~grid.readout):
        extreme = (found.sign * grid.controls[:, :, family]).max(axis=(1, 2))
        expected = (1 + (extreme[:, None, None] >= found.sign * grid.effects[:, family]).sum(0)) / 5
        np.testing.assert_allclose(found.p_values()[:, family], expected)
        np.testing.assert_array_equal(found.stands_out()[:, family], found.p_values()[:, family] == 1 / 5)
    again = lab.causal_map(CLEAN, CORRUPTED, controls=4, progress=False)
    np.testing.assert_array_equal(again.grid("residual").controls, grid.controls)


def test_controls_that_would_be_the_clean_prompt_are_not_drawn(tiny_lab, monkeypatch):
    lab = tiny_lab("12B")
    monkeypatch.setattr("gemma_lab.evals.causal.controls._by_kind", lambda _model: {})
    with pytest.raises(LabError, match="of the kind"):
        lab.causal_map(CLEAN, CORRUPTED, answer="7", spans=50, progress=False)
    with lab.edit(ablate_heads={0: [1]}):
        found = lab.causal_map(CLEAN, CORRUPTED, answer="7", spans=50, controls=0, progress=False)
    assert "under Edit(ablate_heads" in str(found.figure())


def test_given_controls_are_taken(lab):
    same = lab.causal_map(CLEAN, CORRUPTED, controls=[CLEAN, CLEAN], progress=False)
    grid = same.grid("residual")
    np.testing.assert_allclose(grid.controls[0], grid.effects, atol=NOISE)
    assert not same.stands_out().any() or (same.p_values() > 1 / 3).any()
    with pytest.raises(BadPrompt, match="Control 0"):
        lab.causal_map(CLEAN, CORRUPTED, controls=["Short"], progress=False)


def test_given_controls_are_checked_before_anything_is_patched(tiny_lab, monkeypatch):
    lab, ran = tiny_lab("26B-A4B"), []
    monkeypatch.setattr("gemma_lab.evals.causal.run.record", lambda *_a, **_k: ran.append(1))
    before = lab.last_causal_map
    with pytest.raises(BadPrompt, match="Control 1 has"):
        lab.causal_map(CLEAN, CORRUPTED, controls=[CLEAN, "Short"], progress=False)
    assert not ran
    assert lab.last_causal_map is before


def test_maps_of_other_prompts_answers_and_patchings_are_not_compared(tiny_lab):
    lab = tiny_lab("26B-A4B")
    options = {"answer": "7", "spans": 8, "controls": 0, "progress": False}
    found = lab.causal_map(CLEAN, CORRUPTED, **options)
    assert found.agreement(lab.causal_map(CLEAN, CORRUPTED, **options)).rho == pytest.approx(1)
    others = [
        ("clean prompts", lab.causal_map(CLEAN.replace("75", "48"), CORRUPTED, **options)),
        ("corrupted prompts", lab.causal_map(CLEAN, CORRUPTED.replace("31", "48"), **options)),
        ("clean prompts", lab.causal_map(CLEAN + " Now", CORRUPTED + " Now", **options)),
        ("log-probability", lab.causal_map(CLEAN, CORRUPTED, **(options | {"answer": "4"}))),
        ("effect", lab.causal_map(CLEAN, CORRUPTED, patching="noising", **options)),
    ]
    for what, other in others:
        with pytest.raises(LabError, match=f"of (other|the) {what}"):
            found.agreement(other)


def test_prompts_that_do_not_align_are_refused_with_both_numbers(lab):
    lengths = [len(lab.trace(text)) for text in (CLEAN, CLEAN + " Now.")]
    with pytest.raises(BadPrompt, match=f"{lengths[0]}.*{lengths[1]}"):
        lab.causal_map(CLEAN, CLEAN + " Now.", progress=False)
    with pytest.raises(LabError, match="same"):
        lab.causal_map(CLEAN, CLEAN, progress=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parts": "heads"}, {"parts": []}, {"spans": [(3, 2)]}, {"spans": "tokens"}, {"spans": 0},
        {"positions": [9999]}, {"patching": "both"}, {"method": "fast"}, {"controls": -1}, {"controls": "x"},
        {"answer": ""}, {"answer": 3.5}, {"answer": [10**9]}, {"batch_size": 0}, {"answer_tokens": 0},
        {"seed": -1}, {"spans": [(0, 9999)]}, {"parts": 5}, {"spans": 2.5}, {"controls": 2.5},
        {"answer": b"x"}, {"answer": "\ud800"}, {"answer": {5}}, {"answer": np.array(5)}, {"controls": {}},
        {"patching": np.array(["noising", "x"])}, {"parts": b"mlp"}, {"parts": [["mlp"]]},
        {"spans": [slice(2)]}, {"positions": [2.7]}, {"positions": np.array([True, False])},
        {"controls": True},
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(tiny_lab, wrong):
    with pytest.raises(LabError):
        tiny_lab("12B").causal_map(CLEAN, CORRUPTED, progress=False, **wrong)


def test_nothing_is_left_on_the_model_and_what_was_computed_stays(lab, monkeypatch):
    from gemma_lab.evals.causal import patching

    held, calls, batch = hooks(lab.model), [], patching._batch

    def interrupted(*args):
        calls.append(args)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return batch(*args)

    monkeypatch.setattr(patching, "_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.causal_map(CLEAN, CORRUPTED, controls=2, batch_size=8, progress=False)
    assert hooks(lab.model) == held
    assert not lab.lock.locked()
    effects = lab.last_causal_map.effects()
    assert np.isfinite(effects).any()
    assert np.isnan(effects).any()
    assert lab.last_causal_map.to_pandas()["p"].isna().all()
    assert lab.last_causal_map.figure().png()


def test_under_an_edit_of_heads_and_experts_both_runs_and_all_patches_are_edited(lab):
    """Each cell is that of the patch as an edit beside the active one; afterwards the model is as before."""
    experts = lab.architecture.experts
    edit = gl.Edit(ablate_heads={0: [1], 2: [0]}, ablate_experts={1: [3]} if experts else ())
    before = lab.next_token(CLEAN).logprobs
    with lab.edit(edit):
        found = lab.causal_map(CLEAN, CORRUPTED, answer="7", parts="all", controls=0, progress=False)
        token = found.answer[0]
        assert found.clean_logprob == pytest.approx(logprob(lab, CLEAN, token), abs=NOISE)
        assert found.corrupted_logprob == pytest.approx(logprob(lab, CORRUPTED, token), abs=NOISE)
        inside = found.edit(lab, found.top(1)[0])
    np.testing.assert_array_equal(lab.next_token(CLEAN).logprobs, before)
    assert found.active_edit == edit
    assert "ablate_heads" in repr(found)
    plain = lab.causal_map(CLEAN, CORRUPTED, answer="7", controls=0, progress=False)
    assert abs(plain.clean_logprob - found.clean_logprob) > NOISE
    assert inside == found.edit(lab, found.top(1)[0])
    for part in found.parts:
        for cell in some_cells(found, part, 2, seed=5):
            patched = found.edit(lab, cell)
            assert patched.ablate_heads == edit.ablate_heads
            with lab.edit(patched):
                changed = logprob(lab, CORRUPTED, token)
            assert changed - found.corrupted_logprob == pytest.approx(cell.effect, abs=NOISE), cell
    with lab.edit(ablate_heads={3: [0]}), pytest.raises(LabError, match="is active"):
        found.edit(lab, found.top(1)[0])


def test_edits_that_are_bound_to_positions_are_refused(tiny_lab):
    lab = tiny_lab("26B-A4B")
    direction = lab.direction(["I am glad"], ["I am sad"], layers=[1])
    patch = lab.activations(CLEAN, layers=[1], positions=[3])
    for edit in (gl.Edit(steer=direction), gl.Edit(patch=patch)):
        with lab.edit(edit), pytest.raises(LabError, match="is active") as caught:
            lab.causal_map(CLEAN, CORRUPTED, progress=False)
        assert "with" in caught.value.hint
    with lab.edit(ablate_experts={0: [1]}), pytest.raises(LabError, match="gradients do not flow"):
        lab.causal_map(CLEAN, CORRUPTED, method="gradient", progress=False)


def test_a_map_is_of_its_weights_and_adapter(lab, whole):
    other = Lab(
        model=type(lab.model)(lab.model.config).eval(), processor=lab.processor, name="tiny"
    )  # the name is the same
    cell = whole.top(1)[0]
    for wrong in (other, None, "tiny"):
        with pytest.raises(LabError):
            whole.edit(wrong, cell)
    with pytest.raises(LabError, match="not of the weights"):
        gl.CausalExplorer(whole, lab=other)
    lab.adapter = {"name": "mine", "digest": "0"}
    try:
        with pytest.raises(LabError, match="adapter none; active is 'mine'"):
            whole.edit(lab, cell)
    finally:
        lab.adapter = None


def test_integers_of_any_type_are_taken(tiny_lab):
    lab = tiny_lab("12B")
    plain = lab.causal_map(
        CLEAN, CORRUPTED, answer=[40, 41], spans=[(0, 5), (5, 9)], controls=0, progress=False
    )
    numbers = lab.causal_map(
        CLEAN, CORRUPTED, answer=np.array([40, 41]), spans=np.array([[0, 5], [5, 9]]), controls=np.int64(0),
        parts=np.array(["residual"]), progress=False,
    )  # fmt: skip
    assert numbers.equal(plain)
    with pytest.raises(LabError, match="0 to 1"):
        plain.span_text(2)
    for wrong in (lambda: plain.label(None), lambda: plain.agreement(None), lambda: plain.grid([])):
        with pytest.raises(LabError):
            wrong()


def test_a_thought_is_not_taken_for_an_answer():
    mini = gl.load("mini-moe", device="cpu")
    asked = ("What is 7 + 5?", "What is 9 + 5?")
    with pytest.raises(LabError, match="thought"):
        mini.causal_map(*asked, thinking=True, progress=False)
    found = mini.causal_map(*asked, thinking=True, answer="12", spans=50, controls=0, progress=False)
    assert len(found.answer) == 2


def test_its_table_and_its_text(lab, whole):
    frame = whole.to_pandas()
    assert list(frame.columns) == ["part", "layer", "column", "tokens", "effect", "normalised", "p"]
    assert len(frame) == sum(int(np.isfinite(whole.effects(part)).sum()) for part in whole.parts)
    spans = frame[frame.part.isin(BY_SPAN)]
    assert "7→3" in set(spans.tokens)
    best = whole.top(1)[0]
    assert whole.sign * best.effect == pytest.approx((whole.sign * frame.effect).max())
    assert repr(whole).startswith("CausalMap(tiny, denoising")


def test_of_two_pictures_only_the_one_that_differs_counts(tiny_lab):
    lab = tiny_lab("31B")
    red, blue = (Image.new("RGB", (96, 96), color) for color in ("red", "blue"))
    clean, corrupted = (lab.request("Which?", images=[red, each], max_soft_tokens=70) for each in (red, blue))
    found = lab.causal_map(clean, corrupted, controls=1, spans=1, progress=False)
    second = np.flatnonzero(
        (found.clean_tokens.modalities == "image") & (found.clean_tokens.media_index == 1)
    )
    assert found.differing == tuple(second)
    assert not found.effects()[:, : second[0]].any()
    wide = lab.request("Which?", images=[red, Image.new("RGB", (192, 48), "blue")], max_soft_tokens=70)
    with pytest.raises(BadPrompt):
        lab.causal_map(clean, wide, progress=False)


def test_sounds_align(tiny_lab):
    lab = tiny_lab("E2B")
    times = np.arange(16_000) / 16_000
    low, high = (np.sin(2 * np.pi * pitch * times).astype(np.float32) for pitch in (200, 900))
    clean, corrupted = (lab.request("Which?", audio=(each, 16_000)) for each in (low, high))
    found = lab.causal_map(clean, corrupted, controls=1, progress=False)
    soft = np.flatnonzero(found.clean_tokens.modalities == "audio")
    assert found.differing == tuple(soft)
    layer, token = 0, int(soft[3])
    with lab.edit(patch=lab.activations(clean, layers=[layer], positions=[token])):
        patched = logprob(lab, corrupted, found.answer[0])
    assert patched - found.corrupted_logprob == pytest.approx(found.effects()[layer, token], abs=NOISE)
    longer = lab.request("Which?", audio=(np.tile(high, 2), 16_000))
    with pytest.raises(BadPrompt):
        lab.causal_map(clean, longer, progress=False)


def test_prompts_that_chat_reads_in_chunks_are_read_in_one_pass(tiny_lab, monkeypatch):
    from gemma_lab.models.chat import prefill_plan

    lab = tiny_lab("E2B")
    whole = lab.causal_map(CLEAN, CORRUPTED, controls=0, progress=False)
    monkeypatch.setattr(prefill_plan, "SINGLE_PASS_TOKENS", 8)
    monkeypatch.setattr(prefill_plan, "CHUNK_TOKENS", 8)
    found = lab.causal_map(CLEAN, CORRUPTED, controls=0, progress=False)
    assert found.answer == whole.answer
    np.testing.assert_allclose(found.effects(), whole.effects(), atol=NOISE)
    cell = whole.top(1)[0]
    with lab.edit(found.edit(lab, cell)):
        patched = logprob(lab, CORRUPTED, found.answer[0])
    assert patched - found.corrupted_logprob == pytest.approx(cell.effect, abs=NOISE)


def test_what_does_not_fit_is_refused_with_the_length_that_does(tiny_lab, monkeypatch):
    lab = tiny_lab("12B")
    long = CLEAN + " More and more words." * 40
    pair = (long, long.replace("75", "31"))
    monkeypatch.setattr("gemma_lab.models.chat.prefill_plan.free_memory", lambda _model: 20 << 20)
    with pytest.raises(DoesNotFit, match="free") as caught:
        lab.causal_map(*pair, answer="a", progress=False)
    longest = int(re.search(r"some ([\d,]+) tokens", caught.value.hint)[1].replace(",", ""))
    assert 40 < longest < len(lab.trace(long))
    short = long[: longest - 20]
    lab.causal_map(short, short.replace("75", "31"), answer="a", spans=200, controls=0, progress=False)


def test_what_does_not_fit_is_refused_before_it_is_read(tiny_lab, monkeypatch):
    monkeypatch.setattr("gemma_lab.models.chat.prefill_plan.free_memory", lambda _model: 1 << 20)
    with pytest.raises(DoesNotFit, match="free"):
        tiny_lab("12B").causal_map(CLEAN, CORRUPTED, answer="a", progress=False)


def test_a_batch_that_takes_too_much_memory_is_halved(tiny_lab, monkeypatch):
    from gemma_lab.evals.causal import patching

    batch, sizes = patching._batch, []

    def limited(replay, cells, *args):
        sizes.append(len(cells))
        if len(cells) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return batch(replay, cells, *args)

    lab = tiny_lab("12B")
    whole = lab.causal_map(CLEAN, CORRUPTED, controls=0, progress=False)
    monkeypatch.setattr(patching, "_batch", limited)
    found = lab.causal_map(CLEAN, CORRUPTED, controls=0, progress=False)
    np.testing.assert_allclose(found.effects(), whole.effects(), atol=NOISE)
    assert max(sizes) > 3
    assert sizes.count(3) + sizes.count(2) + sizes.count(1) > 3


def test_a_control_that_was_interrupted_is_not_counted(lab):
    found = lab.causal_map(CLEAN, CORRUPTED, parts=["residual"], controls=3, progress=False)
    grid = found.grids["residual"]
    controls = grid.controls.copy()
    controls[1, -1, -1] = np.nan
    cut = dataclasses.replace(grid, controls=controls)
    assert len(grid.extremes(1)) == 3
    np.testing.assert_array_equal(cut.extremes(1), grid.extremes(1)[[0, 2]])
    controls = np.where(np.arange(controls.size).reshape(controls.shape) % 2, np.nan, 0.0)
    assert np.isnan(dataclasses.replace(grid, controls=controls).p_values(1)).all()
