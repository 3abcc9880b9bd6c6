"""Published layouts: features and reconstruction by their formulas; what a file leaves open is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.saes import activations, parts, write

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, LabError
from gemma_lab.models.sparse_autoencoders.layouts import layer_of_hook

ROWS = torch.randn(11, 8, generator=torch.Generator().manual_seed(5)) * 3
NEW = {
    "d_in": 8, "d_sae": 24, "dtype": "float32", "device": "cuda", "apply_b_dec_to_input": True,
    "normalize_activations": "none", "reshape_activations": "none",
    "metadata": {
        "sae_lens_version": "6.36.2", "hook_name": "blocks.4.hook_resid_post", "model_name": "gemma-4-e2b",
        "hook_head_index": None, "model_from_pretrained_kwargs": {"center_writing_weights": False},
    },
}  # fmt: skip
OLD = {
    "model_name": "gemma-2-2b", "hook_point": "blocks.1.hook_resid_post", "hook_point_head_index": None,
    "hook_point_layer": 1, "d_in": 8, "d_sae": 24, "l1_coefficient": 0.1,
}  # fmt: skip


def about(**change):
    """Return the change of a configuration whose metadata says something else."""
    return {"architecture": "standard", "metadata": NEW["metadata"] | change}


def opened(tmp_path, config, tensors, **given):
    return gl.load_sae(write(tmp_path / "sae", config, tensors, "sae_weights.safetensors"), **given)


def same(sae, wanted, tensors, rows=ROWS, *, scale=1.0):
    """Compare features and reconstruction with the formula."""
    found = sae.encode(rows)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-4)
    rebuilt = (wanted @ tensors["W_dec"].double().numpy() + tensors["b_dec"].double().numpy()) * scale
    np.testing.assert_allclose(sae.decode(found, rows).numpy(), rebuilt, atol=1e-4)


@pytest.mark.parametrize("subtract", [True, False])
def test_a_standard_one(tmp_path, subtract):
    tensors = parts()
    sae = opened(tmp_path, NEW | {"architecture": "standard", "apply_b_dec_to_input": subtract}, tensors)
    assert (sae.layer, sae.features, sae.width, sae.activation) == (4, 24, 8, "relu")
    assert (sae.trained_on, sae.layout) == ("gemma-4-e2b", "sae_lens")
    same(sae, activations(ROWS, tensors, subtract=subtract), tensors)


def test_a_topk_one(tmp_path):
    tensors = parts()
    sae = opened(tmp_path, NEW | {"architecture": "topk", "k": 5}, tensors)
    same(sae, activations(ROWS, tensors, k=5), tensors)
    assert int((sae.encode(ROWS) > 0).sum(1).max()) <= 5


@pytest.mark.parametrize("architecture", ["jumprelu", "batchtopk", "matryoshka_batchtopk"])
def test_one_with_thresholds(tmp_path, architecture):
    tensors, threshold = parts(), torch.rand(24) * 2
    sae = opened(tmp_path, NEW | {"architecture": architecture}, tensors | {"threshold": threshold})
    same(sae, activations(ROWS, tensors, threshold=threshold.double().numpy()), tensors)


def test_an_unfinished_batchtopk_one_has_one_threshold_and_scaled_decoder_rows(tmp_path):
    tensors = parts()
    config = NEW | {"architecture": "batchtopk", "rescale_acts_by_decoder_norm": True}
    sae = opened(tmp_path, config, tensors | {"topk_threshold": torch.tensor(1.5)})
    norm = tensors["W_dec"].norm(dim=-1).double().numpy()
    raw = (ROWS.double().numpy() - tensors["b_dec"].double().numpy()) @ tensors["W_enc"].double().numpy()
    before = (raw + tensors["b_enc"].double().numpy()) * norm
    wanted = np.maximum(before, 0) * (before > 1.5)
    np.testing.assert_allclose(sae.encode(ROWS).numpy(), wanted, atol=1e-3)
    rebuilt = wanted / norm @ tensors["W_dec"].double().numpy() + tensors["b_dec"].double().numpy()
    np.testing.assert_allclose(sae.decode(sae.encode(ROWS), ROWS).numpy(), rebuilt, atol=1e-3)


def test_files_from_before_version_6(tmp_path):
    tensors = parts()
    same(opened(tmp_path / "a", OLD, tensors), activations(ROWS, tensors), tensors)
    old = OLD | {
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "normalize_activations": False,
    }
    sae = opened(tmp_path / "b", old, tensors | {"scaling_factor": torch.ones(24)})
    assert (sae.layer, sae.k) == (1, 3)
    same(sae, activations(ROWS, tensors, k=3), tensors)


def test_a_finetuning_factor_scales_the_decoder(tmp_path):
    tensors, scale = parts(), torch.rand(24) + 0.5
    sae = opened(tmp_path, OLD | {"finetuning_scaling_factor": True}, tensors | {"scaling_factor": scale})
    wanted = activations(ROWS, tensors)
    rebuilt = wanted * scale.double().numpy() @ tensors["W_dec"].double().numpy()
    np.testing.assert_allclose(
        sae.decode(sae.encode(ROWS), ROWS).numpy(), rebuilt + tensors["b_dec"].double().numpy(), atol=1e-4
    )
    with pytest.raises(BadCheckpoint, match="scaling_factor"):
        opened(tmp_path / "b", OLD, tensors | {"scaling_factor": scale})


def test_normalised_inputs(tmp_path):
    tensors, rows = parts(), ROWS.double().numpy()
    config = NEW | {"architecture": "standard"}
    mean = rows.mean(1, keepdims=True)
    std = rows.std(1, ddof=1, keepdims=True)
    sae = opened(tmp_path / "ln", config | {"normalize_activations": "layer_norm"}, tensors)
    wanted = activations((rows - mean) / (std + 1e-5), tensors)
    np.testing.assert_allclose(sae.encode(ROWS).numpy(), wanted, atol=1e-4)
    rebuilt = wanted @ tensors["W_dec"].double().numpy() + tensors["b_dec"].double().numpy()
    np.testing.assert_allclose(sae.decode(sae.encode(ROWS), ROWS).numpy(), rebuilt * std + mean, atol=1e-3)
    sae = opened(tmp_path / "cn", config | {"normalize_activations": "constant_norm_rescale"}, tensors)
    scale = np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(8)
    same(sae, activations(rows / scale, tensors), tensors, scale=scale)


def test_a_factor_that_the_files_lack_is_asked_for_and_not_guessed(tmp_path):
    tensors = parts()
    config = NEW | {"architecture": "standard", "normalize_activations": "expected_average_only_in"}
    with pytest.raises(LabError, match="input_scale"):
        opened(tmp_path, config, tensors)
    sae = opened(tmp_path, config, tensors, input_scale=0.5)
    same(sae, activations(0.5 * ROWS, tensors), tensors, scale=2.0)
    with pytest.raises(LabError, match="input_scale"):
        opened(tmp_path, NEW | {"architecture": "standard"}, tensors, input_scale=0.5)


@pytest.mark.parametrize(
    ("change", "more", "named"),
    [
        ({"architecture": "gated"}, {}, "gated"),
        ({"architecture": "transcoder"}, {}, "transcoder"),
        ({"architecture": "standard", "activation_fn": "tanh-relu"}, {}, "tanh-relu"),
        ({"architecture": "standard", "normalize_activations": "covariance_whitening"}, {}, "whitening"),
        ({"architecture": "standard", "reshape_activations": "hook_z"}, {}, "hook_z"),
        ({"architecture": "standard"}, {"threshold": torch.ones(24)}, "threshold"),
        ({"architecture": "jumprelu"}, {}, "threshold"),
        ({"architecture": "standard"}, {"W_skip": torch.ones(8, 8)}, "W_skip"),
        ({"architecture": "topk"}, {}, "k"),
        ({"architecture": "topk", "k": 30}, {}, "30"),
        ({"architecture": "standard", "apply_b_dec_to_input": 1}, {}, "apply_b_dec_to_input"),
        (about(hook_name="blocks.4.hook_mlp_out"), {}, "mlp"),
        (about(hook_name="blocks.0.hook_resid_pre"), {}, "pre"),
        (about(hook_head_index=2), {}, "head 2"),
        (about(model_from_pretrained_kwargs={"center_writing_weights": True}), {}, "centred"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_its_name(tmp_path, change, more, named):
    with pytest.raises(LabError, match=named):
        opened(tmp_path, NEW | change, parts() | more)


def test_shapes_and_values_are_checked(tmp_path):
    tensors = parts()
    with pytest.raises(BadCheckpoint, match="decoder"):
        opened(tmp_path / "a", NEW | {"architecture": "standard"}, tensors | {"W_dec": tensors["W_dec"].T})
    broken = tensors["b_enc"].clone()
    broken[3] = torch.nan
    with pytest.raises(BadCheckpoint, match="finite"):
        opened(tmp_path / "b", NEW | {"architecture": "standard"}, tensors | {"b_enc": broken})


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.17.hook_resid_post", 17), ("blocks.17.hook_resid_pre", 16), ("layers.3", 3),
        ("model.language_model.layers.30", 30), ("language_model.layers.0", 0), ("model.layers.5.output", 5),
    ],
)  # fmt: skip
def test_hooks_of_the_residual_stream(hook, layer):
    assert layer_of_hook(hook) == layer


@pytest.mark.parametrize(
    "hook", ["layers.3.mlp", "model.layers.3.self_attn.o_proj", "embed", "", None, "layers.x"]
)
def test_other_hooks_are_refused(hook):
    with pytest.raises(LabError, match="residual stream"):
        layer_of_hook(hook)


def sparsify_parts(tensors):
    return {
        "encoder.weight": tensors["W_enc"].T, "encoder.bias": tensors["b_enc"], "W_dec": tensors["W_dec"],
        "b_dec": tensors["b_dec"],
    }  # fmt: skip


def test_sparsify_names_its_folder_after_the_layer(tmp_path):
    tensors = parts()
    config = {
        "activation": "topk",
        "expansion_factor": 3,
        "num_latents": 0,
        "k": 5,
        "d_in": 8,
        "multi_topk": True,
    }
    folder = write(tmp_path / "language_model.layers.7", config, sparsify_parts(tensors), "sae.safetensors")
    sae = gl.load_sae(folder)
    assert (sae.layer, sae.k, sae.layout) == (7, 5, "sparsify")
    same(sae, activations(ROWS, tensors, k=5), tensors)
    other = write(tmp_path / "my-sae", config, sparsify_parts(tensors), "sae.safetensors")
    with pytest.raises(LabError, match="my-sae"):
        gl.load_sae(other)
    assert gl.load_sae(other, layer=3).layer == 3
    with pytest.raises(LabError, match="7"):
        gl.load_sae(folder, layer=3)
    for change in ({"transcode": True}, {"skip_connection": True}, {"activation": "groupmax"}):
        write(folder, config | change, sparsify_parts(tensors), "sae.safetensors")
        with pytest.raises(LabError, match="not read"):
            gl.load_sae(folder)


def test_signed_features_and_other_sizes_are_refused(tmp_path):
    tensors, config = parts(), {"activation": "topk", "k": 5, "d_in": 8, "num_latents": 24}
    folder = tmp_path / "layers.7"
    assert gl.load_sae(write(folder, config, sparsify_parts(tensors), "sae.safetensors")).features == 24
    for change, named in (
        ({"signed": True}, "signed"),
        ({"d_in": 9}, "d_in"),
        ({"num_latents": 23}, "latents"),
    ):
        write(folder, config | change, sparsify_parts(tensors), "sae.safetensors")
        with pytest.raises(LabError, match=named):
            gl.load_sae(folder)
    write(folder, config, sparsify_parts(tensors), "sae.safetensors")
    with pytest.raises(LabError, match="input_scale"):
        gl.load_sae(folder, input_scale=0.5)
    for change in ({"d_in": 9}, {"d_sae": 25}):
        with pytest.raises(BadCheckpoint, match=next(iter(change))):
            opened(tmp_path / "a", NEW | {"architecture": "standard"} | change, tensors)


SCOPE = {
    "hf_hook_point_in": "model.layers.17.output", "hf_hook_point_out": "model.layers.17.output", "width": 24,
    "model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 20, "affine_connection": False,
    "type": "sae",
}  # fmt: skip


def scope(folder, config, tensors):
    """Write an SAE in the layout of Gemma Scope 2."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(
        {name.replace("W_", "w_"): value for name, value in tensors.items()}, folder / "params.safetensors"
    )
    return folder


def test_gemma_scope_does_not_centre_its_input(tmp_path):
    tensors = parts() | {"threshold": torch.rand(24) * 2}
    sae = gl.load_sae(scope(tmp_path, SCOPE, tensors))
    assert (sae.layer, sae.layout, sae.trained_on) == (17, "gemma_scope", "google/gemma-3-1b-pt")
    same(
        sae,
        activations(ROWS, tensors, threshold=tensors["threshold"].double().numpy(), subtract=False),
        tensors,
    )
    assert gl.load_sae(tmp_path / "params.safetensors").layer == 17
    again = gl.load_sae(sae.save(tmp_path / "again"))
    assert torch.equal(again.encode(ROWS), sae.encode(ROWS))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"type": "transcoder"}, "predicts"),
        ({"hf_hook_point_out": "model.layers.18.output"}, "predicts"),
        ({"affine_connection": True}, "affine"),
        ({"architecture": "topk"}, "topk"),
        ({"hf_hook_point_in": "model.layers.5.self_attn.o_proj.input",
          "hf_hook_point_out": "model.layers.5.self_attn.o_proj.input"}, "residual stream"),
        ({"width": 25}, "width = 25"),
    ],
)  # fmt: skip
def test_what_else_gemma_scope_has_is_refused(tmp_path, change, named):
    tensors = parts() | {"threshold": torch.ones(24)}
    with pytest.raises(LabError, match=named):
        gl.load_sae(scope(tmp_path, SCOPE | change, tensors))
    with pytest.raises(LabError, match="input_scale"):
        gl.load_sae(scope(tmp_path, SCOPE, tensors), input_scale=2)
    with pytest.raises(BadCheckpoint, match="threshold"):
        gl.load_sae(scope(tmp_path, SCOPE, parts()))


def test_archives_of_numpy_arrays_are_refused_with_the_way_out(tmp_path):
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in parts().items()})
    for source in (tmp_path, tmp_path / "params.npz"):
        with pytest.raises(BadCheckpoint, match=r"NumPy") as caught:
            gl.load_sae(source)
        assert "safetensors" in caught.value.hint


def test_a_plain_file_needs_what_it_does_not_say(tmp_path):
    tensors = parts()
    plain = {
        "encoder.weight": tensors["W_enc"].T, "encoder.bias": tensors["b_enc"],
        "decoder.weight": tensors["W_dec"].T,
    }  # fmt: skip
    folder = write(tmp_path, None, plain, "gemma4_sae.safetensors")
    with pytest.raises(LabError, match="activation"):
        gl.load_sae(folder, layer=29)
    with pytest.raises(LabError, match="layer"):
        gl.load_sae(folder, activation="relu")
    sae = gl.load_sae(folder / "gemma4_sae.safetensors", layer=29, activation="relu")
    zero = tensors | {"b_dec": torch.zeros(8)}
    same(sae, activations(ROWS, zero), zero)
    write(tmp_path, None, plain | {"decoder.bias": tensors["b_dec"]}, "gemma4_sae.safetensors")
    with pytest.raises(LabError, match="apply_b_dec_to_input"):
        gl.load_sae(folder, layer=29, activation="topk", k=4)
    sae = gl.load_sae(folder, layer=29, activation="topk", k=4, apply_b_dec_to_input=False)
    same(sae, activations(ROWS, tensors, k=4, subtract=False), tensors)
