"""The grid test on checkpoints made for it: on a grid, off it, and by chance."""

from __future__ import annotations

import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.models.quantization.q4_0_grid import BLOCK, _on_grid, chance_level, to_q4_0_grid


def _q4_0(weights):
    """Round as llama.cpp's ``quantize_row_q4_0`` does: the largest weight of a block is −8 steps."""
    blocks = weights.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    step = largest / -8
    codes = (blocks / step + 8.5).floor().clamp(0, 15) - 8
    return (codes * step.half().float()).reshape(weights.shape)


def _blocks(count=4000, seed=0):
    return torch.randn(count, BLOCK, generator=torch.Generator().manual_seed(seed)) * 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_of_llama_cpp_are_on_the_grid(dtype):
    assert _on_grid(_q4_0(_blocks()).to(dtype).float()).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_blocks_are_not(dtype):
    assert not _on_grid(_blocks().to(dtype).float()).any()
    five_bits = (_blocks() / 0.004).round().clamp(-16, 15) * 0.004
    wide = five_bits.amax(1) - five_bits.amin(1) > 15.5 * 0.004
    assert not _on_grid(five_bits.to(dtype).float())[wide].any()


def test_one_weight_beside_the_grid_is_enough():
    blocks = _q4_0(_blocks())
    step = blocks.abs().amax(1) / 8
    blocks[:, 3] += 0.3 * step
    assert _on_grid(blocks).float().mean() < 0.01


def test_zeros_and_single_levels_are_on_a_grid():
    assert _on_grid(torch.zeros(3, BLOCK)).all()
    assert _on_grid(torch.full((3, BLOCK), -0.7)).all()


def test_the_chance_level_bounds_the_chance_of_short_blocks():
    """The probability of a whole block is too small to see; that of one more weight is not."""
    largest, others = torch.ones(200_000, 1), torch.rand(200_000, 1) * 2 - 1
    pairs = torch.cat((largest, others), dim=1)
    by_code = []
    for code in (8, 7, 6, 5, 4):
        whole = (pairs * code).round()
        near = (pairs * code - whole).abs() <= 2 * 2.0**-8 * whole.abs()
        by_code.append(near[:, 1].float().mean().item())
    assert max(by_code) <= 1 / 8
    assert chance_level() == pytest.approx(5 * (1 / 8) ** 31)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpoint_on_the_grid(tiny_folder, tmp_path, dtype):
    made = gl.load(tiny_folder("26B-A4B"), dtype="float32")
    assert gl.qat_grid(made).on_grid == ()
    to_q4_0_grid(made)
    made.model.to(getattr(torch, dtype)).save_pretrained(tmp_path / "qat")
    made.processor.save_pretrained(tmp_path / "qat")
    lab = gl.load(tmp_path / "qat", dtype="float32")
    found = gl.qat_grid(lab)
    assert {part.part for part in found.parts} == set(found.on_grid)
    assert {"attention", "mlp", "embedding", "experts"} <= set(found.on_grid)
    assert max(part.levels for part in found.parts) <= 16
    assert "experts" in found.left_out  # rows of 16 weights
    # and packing such weights loses nothing but the rounding of the checkpoint
    packed = gl.load(tmp_path / "qat", dtype="float32", quantization="int4")
    plain = dict(lab.model.named_modules())
    for name, module in packed.model.named_modules():
        if type(module).__name__ == "IntLinear" and module.in_features % BLOCK == 0:
            error = (module.dequantized() - plain[name].weight).abs()
            assert (
                error <= (0 if dtype == "float32" else 2.0**-8) * plain[name].weight.abs()
            ).float().mean() > 0.99


def test_part_of_a_checkpoint_on_the_grid(tiny_folder):
    lab = gl.load(tiny_folder("31B"), dtype="float32")
    with torch.no_grad():
        for name, weight in lab.model.named_parameters():
            if ".language_model." in name and ".self_attn." in name and weight.ndim == 2:
                weight.copy_(_q4_0(weight))
    assert gl.qat_grid(lab).on_grid == ("attention",)
    assert "rest is not" in gl.qat_grid(lab).verdict


def test_a_quantised_model_is_refused(tiny_folder):
    with pytest.raises(LabError, match="quantised already"):
        gl.qat_grid(gl.load(tiny_folder("31B"), dtype="float32", quantization="int4"))


@pytest.mark.parametrize("call", [gl.qat_grid, to_q4_0_grid])
@pytest.mark.parametrize(("what", "named"), [(None, "None"), ("mini-moe", "gl.load\\('mini-moe'\\)")])
def test_what_is_no_loaded_model_is_refused(call, what, named):
    with pytest.raises(LabError, match=f"(?s)takes a loaded model, not .*{named}"):
        call(what)


def test_results_as_tables(tiny_folder):
    found = gl.qat_grid(gl.load(tiny_folder("31B"), dtype="float32"))
    assert list(found.to_pandas()["on_grid"]) == [0] * len(found.parts)
    assert found.to_dict()["parts"]["mlp"]["blocks"] == found.parts[-1].blocks
    assert "not on a Q4_0 grid" in repr(found)
