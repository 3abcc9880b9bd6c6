"""What exists: ids, filters, finding by name, suggestions, the minis that are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import gemma_lab.family.catalog as module
from gemma_lab.errors import LabError
from gemma_lab.family.architecture import SIZES, configuration, get_architecture
from gemma_lab.family.catalog import Catalog, catalog, find, suggest
from gemma_lab.family.parameters import count_parameters


@pytest.fixture
def no_minis(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Path:
        raise LabError("no data here")

    monkeypatch.setattr(module, "data_root", missing)


@pytest.fixture
def one_mini(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    config = configuration("26B-A4B")
    config["text_config"].update(num_hidden_layers=6, hidden_size=128, vocab_size=4096)
    config["text_config"]["layer_types"] = config["text_config"]["layer_types"][:6]
    folder = tmp_path / "minis" / "mini-test"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "minis" / "unfinished").mkdir()
    monkeypatch.setattr(module, "data_root", lambda: tmp_path)
    return folder


def test_five_sizes_with_everything_they_come_in(no_minis: None) -> None:
    assert (
        repr(catalog()) == "Catalog(31 checkpoints: 5 pre-trained, 5 instruction-tuned, 5 drafters, 16 QAT)"
    )
    for size in SIZES:
        ids = {checkpoint.hub_id for checkpoint in catalog(size=size)}
        assert {f"google/gemma-4-{size}{end}" for end in ("", "-it", "-it-assistant")} <= ids


def test_names_are_unique_and_aliases_follow_the_ids(no_minis: None) -> None:
    aliases = [checkpoint.alias for checkpoint in catalog()]
    assert len(set(aliases)) == len(aliases)
    for checkpoint in catalog():
        assert f"google/gemma-4-{checkpoint.alias}" == str(checkpoint.hub_id).lower()


def test_no_packed_26b_for_vllm_was_published() -> None:
    packed = {checkpoint.size for checkpoint in catalog(file_format="compressed-tensors")}
    assert packed == {"E2B", "E4B", "12B", "31B"}
    assert {checkpoint.size for checkpoint in catalog(variant="qat-mobile-ct")} == {"E2B", "E4B"}
    assert {checkpoint.size for checkpoint in catalog(variant="qat-q4_0-gguf")} == set(SIZES)


def test_filters_combine(no_minis: None) -> None:
    assert [c.alias for c in catalog(modality="audio", variant="it")] == ["e2b-it", "e4b-it", "12b-it"]
    assert {c.variant.split("-")[0] for c in catalog(variant="qat")} == {"qat"}
    assert {c.variant for c in catalog(size="31b", standalone=True)} == {"pt", "it", "qat-q4_0-unquantized"}
    assert not catalog(size="27B")
    assert repr(catalog(size="27B")) == "Catalog(0 checkpoints)"


@pytest.mark.parametrize(
    "name", ["26b-a4b-it", "26B-A4B-IT", "google/gemma-4-26B-A4B-it", " google/GEMMA-4-26b-a4b-it "]
)
def test_found_by_alias_or_id_in_any_case(name: str) -> None:
    found = find(name)
    assert found is not None
    assert found.hub_id == "google/gemma-4-26B-A4B-it"


@pytest.mark.parametrize("name", ["", "gemma", "google/gemma-4-27B", "google/gemma-3-27b-it", "31b-it/"])
def test_what_does_not_exist_is_not_found(name: str) -> None:
    assert find(name) is None


def test_suggestions_are_near() -> None:
    assert suggest("26b")[0] == "26b-a4b"
    assert "e2b-it" in suggest("e2b_it")
    assert "31b-it" in suggest("gemma-4-31b-instruct")
    assert suggest("google/gemma-4-e4b-itt")[0] == "google/gemma-4-E4B-it"
    assert suggest("zzzz") == []
    assert len(suggest("e", count=2)) == 2


def test_what_a_checkpoint_says_is_what_its_configuration_says() -> None:
    for size in SIZES:
        checkpoint = find(f"{size}-it")
        assert checkpoint is not None
        assert checkpoint.parameters == count_parameters(get_architecture(size)).total
        assert checkpoint.layers == sum(checkpoint.layer_types.values())
        assert checkpoint.weight_bytes["bf16"] == 2 * count_parameters(get_architecture(size)).total
    moe = find("26b-a4b")
    assert moe is not None
    assert (moe.experts, moe.top_k) == (128, 8)


def test_drafters_have_the_exact_counts_that_are_known(no_minis: None) -> None:
    known = {checkpoint.size: checkpoint.parameters for checkpoint in catalog(variant="assistant")}
    assert known == {"E2B": 77_731_332, "E4B": None, "12B": None, "26B-A4B": 412_764_420, "31B": 454_707_460}
    assert {c.model_type for c in catalog(variant="assistant", size="12B")} == {"gemma4_unified_assistant"}
    assert not any(checkpoint.standalone for checkpoint in catalog(variant="assistant"))


def test_the_conflict_about_the_context_of_the_12b_is_stated() -> None:
    checkpoint = find("12b-it")
    assert checkpoint is not None
    assert any("262,144" in note and "131,072" in note for note in checkpoint.notes)


def test_every_entry_has_a_source_and_none_is_only_third_party(no_minis: None) -> None:
    for checkpoint in catalog():
        assert checkpoint.sources
        assert not checkpoint.third_party


def test_minis_are_those_that_are_there(one_mini: Path) -> None:
    (mini,) = catalog(variant="mini")
    assert (mini.alias, mini.path, mini.hub_id) == ("mini-test", "minis/mini-test", None)
    assert mini.modalities == ("text", "image", "video")
    assert (mini.layers, mini.experts, mini.top_k) == (6, 128, 8)
    assert find("Mini-Test") == mini
    assert suggest("mini-tst") == ["mini-test"]
    assert catalog()[0] == mini


def test_slices_and_plain_data(no_minis: None) -> None:
    assert isinstance(catalog()[:3], Catalog)
    plain = json.loads(json.dumps(catalog().to_dict()))
    assert len(plain["checkpoints"]) == 31
    assert plain["checkpoints"][1]["hub_id"] == "google/gemma-4-E2B-it"


def test_names_are_indices(no_minis: None) -> None:
    assert catalog()["E2B-it"] == catalog()["google/gemma-4-e2b-it"] == find("e2b-it")
    with pytest.raises(LabError, match="'e2b-xt' among these 31") as caught:
        catalog()["e2b-xt"]
    assert "e2b-it" in (caught.value.hint or "")
    with pytest.raises(LabError, match="among these"):
        catalog(size="31B")["e2b-it"]


def test_the_repr_of_an_entry_is_one_line() -> None:
    assert repr(find("26b-a4b-it")) == (
        "Checkpoint(26b-a4b-it: 25.81 B parameters, 30 layers, 128 experts top-8, text+image+video, "
        "context 262,144 tokens, bf16 48.1 GiB, int4 15.3 GiB)"
    )


def test_a_minis_drafter_is_listed_as_its_card_says() -> None:
    drafter = find("mini-moe-assistant")
    assert drafter is not None
    assert (drafter.size, drafter.variant, drafter.model_type) == (
        "mini-moe",
        "assistant",
        "gemma4_assistant",
    )
    assert drafter.weight_bytes["bf16"] == 2 * drafter.parameters
    assert (drafter.layers, drafter.experts, drafter.standalone) == (2, None, False)
    assert drafter not in catalog(variant="mini")
