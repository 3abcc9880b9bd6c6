"""The fitted matrices are the Jacobians, by other means; a fit goes on; nothing of the model changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support import shapes
from support.moe import hooks

import gemma_lab as gl
from gemma_lab.errors import BadEdit, BadLens, DoesNotFit, LabError
from gemma_lab.lab import Lab
from gemma_lab.models.fine_tuning.encoding import ExampleSet
from gemma_lab.models.loading.weights_digest import weights_digest
from gemma_lab.trace.lenses import fit as module
from gemma_lab.trace.lenses.fit import lens_cost, text_jacobians

TEXT = "A story of words"
TEXTS = ["A story of some words.", ("What is 7 + 5?", "12"), "It rained all day long in the town."]
SKIP = 2


@pytest.fixture(scope="module", params=shapes.SIZES)
def lab(request):
    size = request.param
    model = shapes.tiny_model(size).requires_grad_(False)
    return Lab(model=model, processor=shapes.tiny_processor(size), name=f"tiny {size}")


def ids_of(lab, text=TEXT):
    return list(ExampleSet(lab, [text]).examples[0].ids)


class Perturbed:
    """The final residual stream as a function of what is added to a layer's output, by own hooks."""

    def __init__(self, lab, ids, layer):
        self.model, self.ids, self.layer = lab.model, torch.tensor([ids]), layer

    def __call__(self, added):
        layers = self.model.get_decoder().layers
        seen = []
        handles = [
            layers[self.layer].register_forward_hook(lambda _m, _a, out: out + added),
            layers[-1].register_forward_hook(lambda _m, _a, out: seen.append(out)),
        ]
        try:
            self.model.get_decoder()(input_ids=self.ids, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return seen[0][0]


def test_it_is_the_mean_jacobian_by_autograd_and_by_finite_differences(lab):
    ids = ids_of(lab)
    width, valid = lab.text_config.hidden_size, slice(SKIP, len(ids) - 1)
    found = text_jacobians(lab.model, ids, copies=width, skip=SKIP)
    random = torch.Generator().manual_seed(0)
    count = len(ids)
    places = range(count)[valid]
    for layer in (0, len(found) // 2, len(found) - 2):
        function = Perturbed(lab, ids, layer)
        direction, cotangent = torch.randn(2, width, generator=random)
        # backwards: one row, from the sum over final positions, to what is added at each position
        added = torch.zeros(count, width, requires_grad=True)
        (gradient,) = torch.autograd.grad((function(added)[valid] * cotangent).sum(), added)
        expected = gradient[valid].mean(0)
        scale = float(expected.abs().max())
        torch.testing.assert_close(cotangent @ found[layer], expected, rtol=1e-3, atol=1e-4 * scale)
        # forwards: one column, moving one position at a time; a router's choice flips if it moves far
        total, step = torch.zeros(width), 1e-2 if not lab.architecture.experts else 2e-4
        for place in places:
            moved = torch.zeros(count, width)
            moved[place] = step * direction
            with torch.no_grad():
                change = (function(moved) - function(-moved)) / (2 * step)
            assert change[:place].abs().sum() < 1e-2 * change.abs().sum()  # rounding, of experts' batches
            total += change[valid].sum(0)
        expected = total / len(places)
        scale = float(expected.abs().max())
        torch.testing.assert_close(found[layer] @ direction, expected, rtol=0.05, atol=0.02 * scale)
    torch.testing.assert_close(found[-1], torch.eye(width), rtol=0, atol=0)


def test_the_number_of_copies_changes_nothing(lab):
    ids = ids_of(lab)
    whole = text_jacobians(lab.model, ids, copies=64, skip=SKIP)
    for copies in (7, 33):
        part = text_jacobians(lab.model, ids, copies=copies, skip=SKIP)
        torch.testing.assert_close(part, whole, rtol=1e-3, atol=1e-5)


def test_the_model_is_left_as_it_was(lab):
    for parameter in lab.model.parameters():
        parameter.requires_grad_(True)
    before = hooks(lab.model)
    lens = lab.fit_lens(TEXTS, skip=SKIP, progress=False, corpus="three texts")
    assert hooks(lab.model) == before
    assert all(p.requires_grad and p.grad is None for p in lab.model.parameters())
    assert (lens.texts, lens.corpus, lens.weights) == (3, "three texts", weights_digest(lab.model))
    assert lens.tokens == sum(len(example.ids) - SKIP - 1 for example in ExampleSet(lab, TEXTS).examples)
    assert lens.layers == tuple(range(lab.text_config.num_hidden_layers))
    assert lab.jacobian_lens is lens
    each = [text_jacobians(lab.model, e.ids, copies=8, skip=SKIP) for e in ExampleSet(lab, TEXTS).examples]
    mean = torch.stack(each).mean(0).numpy()
    np.testing.assert_allclose(lens.jacobians, mean, rtol=2e-3, atol=2e-3)  # it is kept in float16


@pytest.fixture
def small():
    return Lab(model=shapes.tiny_model("E2B"), processor=shapes.tiny_processor("E2B"), name="tiny")


def test_an_interrupted_fit_goes_on(small, tmp_path):
    path = tmp_path / "state.partial"
    whole = small.fit_lens(TEXTS, skip=SKIP, progress=False)

    def stop(done, total):
        assert total == 3
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.fit_lens(TEXTS, skip=SKIP, progress=False, checkpoint=path, on_text=stop)
    assert not hooks(small.model)
    with pytest.raises(LabError, match="holds the state"):
        small.fit_lens(TEXTS, skip=SKIP, progress=False, checkpoint=path)
    with pytest.raises(BadLens, match="other weights, texts"):
        small.fit_lens(TEXTS[:2], skip=SKIP, progress=False, checkpoint=path, resume=True)
    seen = []
    on = small.fit_lens(
        TEXTS, skip=SKIP, progress=False, checkpoint=path, resume=True, on_text=lambda *at: seen.append(at)
    )
    assert seen == [(3, 3)]
    np.testing.assert_array_equal(on.jacobians, whole.jacobians)
    path.write_bytes(b"nonsense")
    with pytest.raises(BadLens, match="cannot be read"):
        small.fit_lens(TEXTS, skip=SKIP, progress=False, checkpoint=path, resume=True)


def test_what_cannot_be_fitted_is_refused(small, monkeypatch):
    with pytest.raises(LabError, match="Text 1 has image"):
        small.fit_lens(
            [TEXT, {"prompt": "x", "answer": "y", "images": [Image.new("RGB", (40, 40))]}], progress=False
        )
    with pytest.raises(LabError, match="No text has 53 tokens"):
        small.fit_lens(["short"], skip=50, progress=False)
    with pytest.raises(LabError, match="copies"):
        small.fit_lens(TEXTS, copies=10_000, progress=False)
    with pytest.raises(LabError, match="corpus is 5"):
        small.fit_lens(TEXTS, corpus=5, progress=False)
    with pytest.raises(LabError, match="surrogate"):
        small.fit_lens(["\ud800 and more of it"], progress=False)
    with pytest.raises(BadEdit, match="edit is active"), small.edit(ablate_heads={0: [0]}):
        small.fit_lens(TEXTS, progress=False)
    small.adapter = {"name": "mine", "digest": "0"}
    with pytest.raises(BadLens, match="'mine'"):
        small.fit_lens(TEXTS, progress=False)
    small.adapter = None
    monkeypatch.setattr(module, "free_ram", lambda: 1000)
    with pytest.raises(DoesNotFit, match="main memory"):
        small.fit_lens(TEXTS, progress=False)
    assert small.jacobian_lens is None


def test_a_state_that_cannot_be_written_is_refused_before_the_fit(small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    begun = []
    with pytest.raises(LabError, match="cannot be written"):
        small.fit_lens(
            TEXTS, skip=SKIP, progress=False, checkpoint=tmp_path / "file" / "state",
            on_text=lambda *done: begun.append(done),
        )  # fmt: skip
    assert not begun


@pytest.mark.parametrize("wrong", [{"copies": 0}, {"copies": 65}, {"max_tokens": -1}, {"max_tokens": 1.5}])
def test_a_cost_of_impossible_numbers_is_refused(small, wrong):
    with pytest.raises(LabError):
        lens_cost(small.model, **wrong)
    with pytest.raises(LabError, match="no model"):
        lens_cost("E2B")


def test_what_a_fit_takes_is_known_before():
    model = gl.meta_model("E2B")
    cost = lens_cost(model, copies=16)
    assert (cost.layers, cost.width, cost.passes) == (35, 1536, 96)
    assert cost.file == 2 * 35 * 1536**2
    assert "35 layers × 1,536²: 96 backward passes of 16 copies" in str(cost)
    assert lens_cost(model, free=8 << 30).activations < 4 << 30


def test_what_cannot_be_called_is_refused_before_the_fit(small):
    for wrong in (5, "print", True):
        with pytest.raises(LabError, match="on_text"):
            small.fit_lens(TEXTS, skip=SKIP, progress=False, on_text=wrong)
