"""A mini's weights go on in another vocabulary."""

from __future__ import annotations

import pytest
import torch

from gemma_lab.errors import LabError
from gemma_lab.minis.architecture import mini_config, new_model
from gemma_lab.minis.checkpoint import write_checkpoint
from gemma_lab.minis.tokenizer import build_tokenizer
from gemma_lab.minis.weight_transfer import carry_over, teacher_of

_OLD = ["lemon drum", "the drum"] * 50
_NEW = ["lemondrum", "the drum"] * 50


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    tokenizer = build_tokenizer(_OLD, vocab_size=420)
    model = new_model(mini_config("mini-edge", len(tokenizer)), seed=3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model, tokenizer


def test_known_pieces_keep_their_rows_and_new_ones_start_as_the_mean_of_their_parts(published):
    folder, before, old = published
    new = build_tokenizer(_NEW, vocab_size=430)
    after = new_model(mini_config("mini-edge", len(new)), seed=4)
    assert carry_over(after, new, folder) == ["sight", "hearing"]
    known = [piece for piece in new.get_vocab() if piece in old.get_vocab()]
    made = [piece for piece in new.get_vocab() if piece not in old.get_vocab()]
    assert len(known) > 300
    assert "lemondrum" in made
    for find in (lambda m: m.model.language_model.embed_tokens.weight,
                 lambda m: m.model.language_model.embed_tokens_per_layer.weight):  # fmt: skip
        rows, earlier = find(after), find(before)
        for piece in (*known[::40], "model"):
            assert torch.equal(rows[new.get_vocab()[piece]], earlier[old.get_vocab()[piece]])
        parts = old.encode("lemondrum", add_special_tokens=False)
        assert len(parts) > 1
        torch.testing.assert_close(rows[new.get_vocab()["lemondrum"]], earlier[parts].mean(0))
    for name in ("model.vision_tower.patch_embedder.input_proj.weight",
                 "model.language_model.layers.3.mlp.up_proj.weight"):  # fmt: skip
        assert torch.equal(after.state_dict()[name], before.state_dict()[name])
    assert torch.equal(after.lm_head.weight, after.model.language_model.embed_tokens.weight)


def test_a_mini_of_another_name_gives_its_eyes_and_words(published):
    folder, before, tokenizer = published
    after = new_model(mini_config("mini-moe", len(tokenizer)), seed=0)
    own = after.model.language_model.layers[0].self_attn.q_proj.weight.detach().clone()
    assert carry_over(after, tokenizer, folder) == ["sight"]
    eyes = [name for name in after.state_dict() if "vision_tower.encoder" in name or "embed_vision" in name]
    assert len(eyes) > 30
    for name in (*eyes, "model.language_model.embed_tokens.weight"):
        assert torch.equal(after.state_dict()[name], before.state_dict()[name])
    assert torch.equal(after.model.language_model.layers[0].self_attn.q_proj.weight, own)


def test_another_shape_is_refused(published):
    folder, _, tokenizer = published
    config = mini_config("mini-edge", len(tokenizer))
    config.text_config.intermediate_size = 128
    other = new_model(config, seed=0)
    with pytest.raises(LabError, match=r"another shape: \d+ weights"):
        carry_over(other, tokenizer, folder)


def test_a_mini_without_encoders_takes_the_attention_of_one_with_experts_for_its_upper_layers(tmp_path):
    tokenizer = build_tokenizer(_OLD, vocab_size=420)
    before = new_model(mini_config("mini-moe", len(tokenizer)), seed=3)
    before.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    after = new_model(mini_config("mini-unified", len(tokenizer)), seed=4)
    untouched = after.model.language_model.layers[2].self_attn.q_proj.weight.clone()
    quiet = after.model.language_model.layers[2].post_attention_layernorm.weight.clone() / 3
    assert carry_over(after, tokenizer, tmp_path) == []
    mine, theirs = after.state_dict(), before.state_dict()
    for number in range(6):
        for part in ("self_attn.q_proj.weight", "self_attn.k_norm.weight", "post_attention_layernorm.weight"):
            name = "model.language_model.layers.{}." + part
            assert torch.equal(mine[name.format(number + 6)], theirs[name.format(number)])
    assert torch.equal(mine["lm_head.weight"], theirs["lm_head.weight"])
    assert torch.equal(after.model.language_model.layers[2].self_attn.q_proj.weight, untouched)
    torch.testing.assert_close(after.model.language_model.layers[2].post_attention_layernorm.weight, quiet)
    teacher = teacher_of(after, tokenizer, tmp_path)
    assert torch.equal(teacher.state_dict()["lm_head.weight"], theirs["lm_head.weight"])
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert teacher_of(before, tokenizer, tmp_path) is None


def test_minis_with_encoders_still_take_no_attention_of_each_other(published):
    folder, _, tokenizer = published
    after = new_model(mini_config("mini-unified", len(tokenizer)), seed=0)
    own = after.model.language_model.layers[0].self_attn.q_proj.weight.detach().clone()
    assert carry_over(after, tokenizer, folder) == []
    assert torch.equal(after.model.language_model.layers[0].self_attn.q_proj.weight, own)
    assert teacher_of(after, tokenizer, folder) is None


def test_lower_layers_of_a_mini_without_encoders_come_trained(tmp_path):
    tokenizer = build_tokenizer(_OLD, vocab_size=420)
    before = new_model(mini_config("mini-unified", len(tokenizer)), seed=3)
    write_checkpoint(before, tokenizer, tmp_path)
    after = new_model(mini_config("mini-unified", len(tokenizer)), seed=4)
    assert carry_over(after, tokenizer, tmp_path) == ["sight", "hearing"]
    for name, weight in before.state_dict().items():
        assert torch.equal(weight.bfloat16().float(), after.state_dict()[name])
