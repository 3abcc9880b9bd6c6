"""``lab.adapters``: switching, loading, merging, other bases, traces and edits under an adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.shapes import tiny_checkpoint

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, BadTrace, LabError, NotAvailable
from gemma_lab.models.fine_tuning.base_identity import base_digest

_PAIRS = [("abc", "d"), ("bcd", "ef"), ("cde", "fgh")]
_OPTIONS: dict[str, Any] = {
    "rank": 2, "learning_rate": 2e-2, "batch_size": 3, "steps": 4, "progress": False,
}  # fmt: skip
_TARGETS = {"26B-A4B": ("attention", "experts", "mlp", "router"), "E2B": ("attention", "mlp")}


def _logits(lab: Any) -> torch.Tensor:
    ids = torch.randint(40, 200, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return lab.model(
            input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=torch.zeros_like(ids)
        ).logits


@pytest.fixture
def tuned(own_lab: Callable[..., Any]) -> Callable[[str], Any]:
    """Return a function from a size to a lab with a trained, active adapter."""

    def lab(size: str = "26B-A4B") -> Any:
        made = own_lab(size)
        made.fine_tune(_PAIRS, targets=_TARGETS[size], name="small", **_OPTIONS)
        return made

    return lab


def test_switching_is_exact_and_contexts_restore(tuned: Any) -> None:
    lab = tuned()
    with_adapter = _logits(lab)
    with lab.adapters.disabled():
        base = _logits(lab)
        assert lab.adapters.active is None
        assert lab.adapter is None
        with lab.adapters.enabled("small") as adapter:
            assert lab.adapters.active is adapter
            assert torch.equal(_logits(lab), with_adapter)
        assert torch.equal(_logits(lab), base)
    assert torch.equal(_logits(lab), with_adapter)
    assert not torch.equal(base, with_adapter)
    lab.adapters.disable()
    lab.adapters.disable()
    assert torch.equal(_logits(lab), base)
    with pytest.raises(ZeroDivisionError), lab.adapters.enabled("small"):
        raise ZeroDivisionError
    assert lab.adapters.active is None


def test_a_collection_lists_and_names_its_adapters(tuned: Any) -> None:
    lab = tuned()
    assert [adapter.name for adapter in lab.adapters] == ["small"]
    assert len(lab.adapters) == 1
    assert "small" in lab.adapters
    assert "small (active)" in repr(lab.adapters)
    frame = lab.adapters.to_pandas()
    assert frame.loc[0, "parameters"] == sum(t.numel() for t in lab.adapters["small"].tensors.values())
    for name in ("other", None, 3):
        with pytest.raises(LabError, match="small"):
            lab.adapters[name]
    assert lab.adapters is lab.adapters


@pytest.mark.parametrize("layout", ["packed", "per expert"])
def test_an_adapter_is_loaded_with_its_model(
    tuned: Any, tiny_folder: Any, tmp_path: Path, layout: str
) -> None:
    lab = tuned()
    adapter = lab.adapters.active
    adapter.save(tmp_path / "out", layout=layout)
    again = gl.load(tiny_folder("26B-A4B"), device="cpu", dtype="float32", adapter=tmp_path / "out")
    torch.testing.assert_close(_logits(again), _logits(lab), atol=1e-5, rtol=0)
    loaded = again.adapters.active
    assert (loaded.name, loaded.losses, loaded.settings) == (adapter.name, adapter.losses, adapter.settings)
    assert loaded.digest == adapter.digest
    assert loaded.check(_PAIRS).passed
    with pytest.raises(LabError, match="from a file"):
        loaded.check()


@pytest.mark.parametrize("size", ["E2B", "26B-A4B"])
def test_peft_itself_loads_the_packed_layout_to_the_same_logits(
    tuned: Any, tmp_path: Path, size: str
) -> None:
    from peft import PeftModel

    lab = tuned(size)
    expected = _logits(lab)
    lab.adapters.active.save(tmp_path)
    lab.adapters.unload()
    lab.model = PeftModel.from_pretrained(lab.model, tmp_path)
    torch.testing.assert_close(_logits(lab), expected, atol=1e-5, rtol=0)


def test_an_adapter_of_peft_is_loaded(own_lab: Any, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    other, lab = own_lab("26B-A4B"), own_lab("26B-A4B")
    config = LoraConfig(
        r=3, lora_alpha=5, use_rslora=True, init_lora_weights=False,
        target_modules=r".*language_model.*[qv]_proj", target_parameters=["experts.down_proj"],
    )  # fmt: skip
    other.model = get_peft_model(other.model, config)
    other.model.save_pretrained(tmp_path)
    adapter = lab.adapters.load(tmp_path, name="theirs")
    torch.testing.assert_close(_logits(lab), _logits(other), atol=1e-5, rtol=0)
    assert adapter.targets == ("attention", "experts")


def test_unsupported_settings_of_peft_are_refused_by_name(own_lab: Any, tuned: Any, tmp_path: Path) -> None:
    tuned("E2B").adapters.active.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    for change in ({"use_dora": True}, {"peft_type": "IA3"}, {"rank_pattern": {"q_proj": 4}}, {"r": 0}):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config | change))
        with pytest.raises(BadCheckpoint, match="|".join(map(str, (*change, *change.values())))):
            own_lab("E2B").adapters.load(tmp_path)


def test_damaged_files_are_refused_and_leave_the_base(own_lab: Any, tuned: Any, tmp_path: Path) -> None:
    tuned("E2B").adapters.active.save(tmp_path)
    lab = own_lab("E2B")
    base, weights = _logits(lab), tmp_path / "adapter_model.safetensors"
    tensors = load_file(weights)
    key = next(iter(tensors))
    damages: list[dict[str, torch.Tensor]] = [
        {**tensors, key: tensors[key][:, :-1].contiguous()},
        {name: value for name, value in tensors.items() if name != key},
        {**tensors, "base_model.model.lm_head.bias": torch.zeros(3)},
        {**tensors, key: torch.full_like(tensors[key], float("nan"))},
        {name.replace("language_model", "elsewhere"): value for name, value in tensors.items()},
        {},
    ]
    for damage in damages:
        save_file(damage, weights)
        with pytest.raises(LabError):
            lab.adapters.load(tmp_path)
        assert torch.equal(_logits(lab), base)
        assert len(lab.adapters) == 0
    weights.write_bytes(b"not a file")
    with pytest.raises(BadCheckpoint):
        lab.adapters.load(tmp_path)
    for folder in (tmp_path / "none", "nowhere"):
        with pytest.raises(NotAvailable):
            gl.load("mini-moe", adapter=folder)


def test_an_adapter_of_another_base_is_refused(own_lab: Any, tuned: Any, tmp_path: Path) -> None:
    tuned("26B-A4B").adapters.active.save(tmp_path / "adapter")
    shaped = gl.load(tiny_checkpoint("26B-A4B", tmp_path / "other", seed=1), device="cpu", dtype="float32")
    with pytest.raises(LabError, match="tiny-26B-A4B"):
        shaped.adapters.load(tmp_path / "adapter")
    assert shaped.adapters.load(tmp_path / "adapter", check_base=False).name == "small"
    with pytest.raises(BadCheckpoint):
        own_lab("31B").adapters.load(tmp_path / "adapter")


def test_the_digest_of_a_base_is_the_same_in_every_dtype(own_lab: Any, tmp_path: Path) -> None:
    single, half = own_lab("E2B"), own_lab("E2B", dtype="bfloat16")
    assert base_digest(single.model) == base_digest(half.model) is not None
    other = gl.load(tiny_checkpoint("E2B", tmp_path / "other", seed=1), device="cpu")
    assert base_digest(other.model) != base_digest(single.model)


def test_merging_keeps_the_logits_and_a_merged_checkpoint_loads(tuned: Any, tmp_path: Path) -> None:
    lab = tuned()
    expected = _logits(lab)
    adapter = lab.adapters.active
    adapter.merge(tmp_path / "merged")
    torch.testing.assert_close(_logits(lab), expected, atol=1e-4, rtol=0)
    assert len(lab.adapters) == 0
    assert lab.name.endswith("+small merged")
    again = gl.load(tmp_path / "merged", device="cpu", dtype="float32")
    torch.testing.assert_close(_logits(again), _logits(lab), atol=1e-5, rtol=0)
    with pytest.raises(LabError, match="merged"):
        adapter.check()


def test_a_check_restores_the_weights_bit_for_bit(tuned: Any) -> None:
    lab = tuned()
    before = {name: value.clone() for name, value in lab.model.state_dict().items()}
    check = lab.adapters.active.check()
    assert check.passed
    assert check.change > 0
    assert check.differences["merged"] < 1e-4
    after = lab.model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert lab.adapters.active is not None


def test_a_check_names_what_is_wrong(tuned: Any) -> None:
    lab = tuned()
    adapter = lab.adapters.active
    name = next(iter(adapter.tensors))
    adapter.gradients[name] = 0.0
    layers = lab.adapters.own_layers("small")
    layers.load({key: torch.zeros_like(value) for key, value in adapter.tensors.items()})
    check = adapter.check(merged=False)
    assert not check.passed
    assert check.without_gradient == (name,)
    assert check.kl < 1e-8
    problems = " ".join(check.problems)
    assert name in problems
    assert "changes nothing" in problems
    assert "reloaded, packed" in problems  # the file has the tensors, the model does not
    assert "merged" in check.not_compared


def test_an_adapter_without_a_difference_between_gate_and_up_is_read_per_expert(
    tuned: Any, own_lab: Any, tmp_path: Path
) -> None:
    """Adapters trained per expert elsewhere have first factors of their own for gate and up."""
    lab = tuned()
    adapter = lab.adapters.active
    adapter.save(tmp_path, layout="per expert")
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name in tensors:
        if ".moe.experts." in name and "up_proj.lora_A" in name:
            tensors[name] = torch.randn(tensors[name].shape, generator=generator) / 8
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    other = own_lab("26B-A4B")
    loaded = other.adapters.load(tmp_path)
    assert loaded.rank == 2 * adapter.rank
    scale = adapter.alpha / adapter.rank
    updates = dict(
        zip(
            other.adapters.own_layers("small").weights,
            other.adapters.own_layers("small").deltas(),
            strict=True,
        )
    )
    stem = "base_model.model.model.language_model.layers.1"
    for expert in (0, 5, 127):
        parts = [
            tensors[f"{stem}.moe.experts.{expert}.{name}.lora_B.weight"]
            @ tensors[f"{stem}.moe.experts.{expert}.{name}.lora_A.weight"]
            for name in ("gate_proj", "up_proj")
        ]
        update = updates["model.language_model.layers.1.experts.gate_up_proj"][1][expert]
        torch.testing.assert_close(update, scale * torch.cat(parts), atol=1e-6, rtol=1e-5)
    query = "self_attn.q_proj"
    update = updates[f"model.language_model.layers.1.{query}"][1]
    expected = tensors[f"{stem}.{query}.lora_B.weight"] @ tensors[f"{stem}.{query}.lora_A.weight"]
    torch.testing.assert_close(update, scale * expected, atol=1e-6, rtol=1e-5)


def test_chat_traces_and_edits_work_under_an_adapter(tuned: Any) -> None:
    lab = tuned()
    trace = lab.trace("abc", attention=True, max_new_tokens=3)
    assert trace.meta["model"].endswith("+small")
    assert trace.meta["adapter"] == lab.adapter
    reply = lab.chat("abc", temperature=0, max_new_tokens=3)
    assert [token.id for token in reply.tokens][:-1] == trace.tokens.ids[trace.tokens.generated].tolist()
    rows = lab.attention_rows(trace, [2])
    assert all(np.allclose(row.sum(-1), 1, atol=1e-4) for row in rows.values())
    plain = _logits(lab)
    with lab.edit(ablate_experts={0: [1, 2, 3]}, ablate_heads={1: [0]}):
        edited = _logits(lab)
        with pytest.raises(LabError, match="edit"):
            lab.adapters.disable()
        assert lab.adapters.active is not None
    assert not torch.equal(plain, edited)
    assert torch.equal(_logits(lab), plain)
    lab.adapters.disable()
    assert "adapter" not in lab.trace("abc").meta
    with pytest.raises(BadTrace):
        lab.attention_rows(trace, [2])
    trace.meta["model"] = lab.name
    with pytest.raises(BadTrace, match="adapter"):  # also if the name is that of the base
        lab.attention_rows(trace, [2])


def test_experts_by_adapter_have_norms_of_their_own_updates(tuned: Any) -> None:
    lab = tuned()
    adapter = lab.adapters.active
    norms = adapter.expert_norms()
    assert norms.shape == (6, 128)
    layers = lab.adapters.own_layers("small")
    updates = {name: update for name, (_, update) in zip(layers.weights, layers.deltas(), strict=True)}
    squares = sum(
        updates[f"model.language_model.layers.3.experts.{name}"].double().pow(2).sum((1, 2))
        for name in ("gate_up_proj", "down_proj")
    )
    assert np.allclose(norms[3], squares.sqrt().numpy(), rtol=1e-4)
    frame = adapter.update_norms().set_index("weight")
    for name, update in updates.items():
        assert frame.loc[name, "norm"] == pytest.approx(float(update.double().norm()), rel=1e-4)
    other = lab.fine_tune(_PAIRS, targets="attention", **_OPTIONS)
    with pytest.raises(LabError, match="attention"):
        other.expert_norms()
