"""Views of adapters: numbers right, names never markup."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gemma_lab.models.fine_tuning.adapter import Adapter
from gemma_lab.models.fine_tuning.change_check import AdapterCheck
from gemma_lab.models.fine_tuning.progress import LossCurve
from gemma_lab.models.fine_tuning.settings import training_settings
from gemma_lab.views.fine_tuning.adapter import adapter_figure, adapter_html, expert_updates_figure
from gemma_lab.views.fine_tuning.check import adapter_check_html
from gemma_lab.views.fine_tuning.loss_curve import loss_curve_figure, loss_curve_html

_STEM = "model.language_model.layers"


@pytest.fixture
def adapter() -> Adapter:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(3):
        shapes[f"{_STEM}.{layer}.self_attn.q_proj"] = (6, 4)
        shapes[f"{_STEM}.{layer}.experts.down_proj"] = (5, 4, 3)
    tensors = {}
    generator = torch.Generator().manual_seed(0)
    for name, (*stack, outputs, inputs) in shapes.items():
        width = 2 * (stack[0] if stack else 1)
        tensors[f"{name}.lora_A"] = torch.randn(width, inputs, generator=generator)
        tensors[f"{name}.lora_B"] = torch.randn(outputs, width, generator=generator)
    with torch.no_grad():
        tensors[f"{_STEM}.2.experts.down_proj.lora_B"] *= 30
    settings = training_settings(
        ("attention", "experts"), examples=9, rank=2, alpha=None, learning_rate=0.01, steps=20, minutes=None,
        batch_size=3, seed=7, gradient_checkpointing=False,
    )  # fmt: skip
    losses = [2.0 / (1 + step) for step in range(20)]
    return Adapter(
        "<b>mine</b>", "toy <i>", 2, 4.0, tensors, shapes, settings=settings, losses=losses, kl_to_base=0.5
    )


def test_the_table_of_an_adapter_escapes_names_and_has_its_numbers(adapter: Adapter) -> None:
    page = adapter_html(adapter)
    assert "<b>mine" not in page
    assert "&lt;b&gt;mine" in page
    assert "toy &lt;i&gt;" in page
    assert f"{adapter.parameters:,}" in page
    assert "20 steps of 3" in page
    assert "<script" not in page
    assert "<polyline" in page
    assert page == adapter._repr_html_()


def test_the_figure_has_the_loss_and_the_norms_by_layer(adapter: Adapter) -> None:
    plot = adapter_figure(adapter)
    losses, updates = plot.figure.axes
    assert list(losses.lines[0].get_ydata()) == adapter.losses
    norms = adapter.update_norms()
    experts = norms[norms["target"] == "experts"]["norm"].to_numpy()
    drawn = {line.get_label(): line.get_ydata() for line in updates.lines}
    assert np.allclose(drawn["experts"], experts)
    assert "layer 2" in plot.text
    assert plot.png().startswith(b"\x89PNG")


def test_the_map_of_experts_is_their_norms(adapter: Adapter) -> None:
    plot = expert_updates_figure(adapter)
    shown = plot.figure.axes[0].images[0].get_array()
    assert np.allclose(shown, adapter.expert_norms())
    layer, expert = np.unravel_index(adapter.expert_norms().argmax(), (3, 5))
    assert f"layer {layer}, expert {expert}" in plot.text


def test_a_loss_curve_is_drawn_while_it_grows() -> None:
    assert "no steps yet" in loss_curve_html(LossCurve([]))
    losses = [3.0, 2.0, 1.0, 0.5]
    page = loss_curve_html(LossCurve(losses, fraction=0.1, title="<b>toy"))
    assert "&lt;b&gt;toy" in page
    assert "<b>toy" not in page
    assert "of about 40" in page
    xs = [float(point.split(",")[0]) for point in page.split('points="')[1].split('"')[0].split()]
    assert xs == sorted(xs)
    assert xs[-1] < 150  # a tenth of the run is a tenth of the axis
    plot = loss_curve_figure(LossCurve(losses))
    assert list(plot.figure.axes[0].lines[0].get_ydata()) == losses
    for odd in ([0.0], [1e-9] * 3, [5.0] * 2000):
        assert "<svg" in loss_curve_html(LossCurve(odd))


def test_the_running_mean_is_over_a_twentieth_or_five() -> None:
    losses = list(np.random.default_rng(0).random(200))
    expected = [np.mean(losses[max(0, at - 9) : at + 1]) for at in range(200)]
    assert np.allclose(LossCurve(losses).smoothed(), expected)
    assert LossCurve([4.0, 2.0]).smoothed() == [4.0, 3.0]


def test_the_table_of_a_check_says_which_form_differs() -> None:
    check = AdapterCheck(
        "<u>a", "base", 8, ("some.weight",), 0.2, 0.75, 3.0,
        {"merged": 0.5, "reloaded, packed": 0.0}, 1e-3, {"reloaded, per expert": "no experts"},
    )  # fmt: skip
    page = adapter_check_html(check)
    assert "&lt;u&gt;a" in page
    assert "7 of 8 tensors" in page
    assert page.count(">equal<") == 1
    assert page.count(">differs<") == 1
    assert "not compared: no experts" in page
    assert "some.weight" in page
    assert len(check.problems) == 2
    assert "2 problems" in repr(check)
