"""Loading with a quantisation: all five shapes, every verb, and nothing left of it afterwards."""

from __future__ import annotations

import importlib.util
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import shapes

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, DoesNotFit, LabError, MissingExtra
from gemma_lab.family.catalog import find
from gemma_lab.models.quantization import integer_quantizer
from gemma_lab.models.quantization.integers import quantize
from gemma_lab.models.quantization.layers import IntEmbedding, IntExperts, IntLinear

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
needs_torchao = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="torchao is not installed"
)


def _unpacked(plain, packed):
    """Return the plain model with the dequantised weights of the packed one."""
    modules = dict(plain.model.named_modules())
    for name, module in packed.model.named_modules():
        if isinstance(module, IntExperts):
            for leaf in ("gate_up_proj", "down_proj"):
                modules[name].get_parameter(leaf).data.copy_(module.dequantized(leaf))
        elif isinstance(module, IntLinear | IntEmbedding):
            modules[name].weight.data.copy_(module.dequantized())
    return plain


def _ids(lab):
    return torch.randint(40, 280, (1, 24), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _logits(lab, ids):
    return lab.model(input_ids=ids, mm_token_type_ids=torch.zeros_like(ids)).logits


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("quantization", ["int8", "int4-g16-e8"])
def test_logits_are_those_of_the_dequantised_weights(tiny_folder, size, quantization):
    packed = gl.load(tiny_folder(size), dtype="float32", quantization=quantization)
    plain = _unpacked(gl.load(tiny_folder(size), dtype="float32"), packed)
    torch.testing.assert_close(
        _logits(packed, _ids(packed)), _logits(plain, _ids(plain)), rtol=1e-5, atol=1e-5
    )
    kinds = {type(module) for module in packed.model.modules()}
    assert IntLinear in kinds
    assert (IntExperts in kinds) == (size == "26B-A4B")
    assert (IntEmbedding in kinds) == quantization.endswith("e8")


@pytest.mark.parametrize("quantization", ["int8", "int4-g16-e8"])
def test_placeholders_for_earlier_releases_give_the_same_weights(tiny_folder, quantization, monkeypatch):
    usual = gl.load(tiny_folder("26B-A4B"), dtype="float32", quantization=quantization)
    monkeypatch.setattr(integer_quantizer, "_READS_AS_PLACEHOLDER", True)
    other = gl.load(tiny_folder("26B-A4B"), dtype="float32", quantization=quantization, device_map="auto")
    stored, found = usual.model.state_dict(), other.model.state_dict()
    assert stored.keys() == found.keys()
    assert all(torch.equal(stored[name], found[name]) for name in stored)


@pytest.mark.parametrize("size", shapes.SIZES)
@pytest.mark.parametrize("quantization", [None, "int8", "int4", "int4-g16-e4"])
def test_the_bits_counted_are_those_predicted(tiny_folder, size, quantization):
    lab = gl.load(tiny_folder(size), dtype="bfloat16", quantization=quantization)
    counted = lab.bits()
    predicted = gl.predicted_bits(tiny_folder(size), quantization=quantization)
    figures = [(part.part, part.weights, part.bytes) for part in counted.parts]
    assert figures == [(part.part, part.weights, part.bytes) for part in predicted.parts]
    assert counted.weights == gl.load(tiny_folder(size)).parameters == lab.parameters
    # all bytes of the model, but for buffers that no weight is: rotary frequencies, scalars, limits
    parameters = sum(weight.nbytes for weight in lab.model.parameters())
    scales = sum(b.nbytes for name, b in lab.model.named_buffers() if name.endswith("_scales"))
    assert counted.bytes == parameters + scales


def test_a_packed_model_chats_streams_traces_and_is_edited(tiny_folder):
    lab = gl.load(tiny_folder("26B-A4B"), dtype="float32", quantization="int4")
    options = {"max_new_tokens": 5, "temperature": 0}
    reply = lab.chat("abc", **options)
    stream = lab.stream("abc", **options)
    for _ in stream:
        pass
    assert [token.id for token in stream.reply.tokens] == [token.id for token in reply.tokens]
    trace = lab.trace("abc", attention=True, logit_lens=True, **options)
    assert trace.routing.experts == 128
    again = lab.trace("abc", edit=gl.Edit(ablate_experts={0: [int(trace.routing.ids[0, 0, 0])]}), **options)
    assert again.routing.ids[0, 0, 0] != trace.routing.ids[0, 0, 0]
    bound = lab.chat("abc", schema={"type": "integer"}, max_new_tokens=40, temperature=0)
    assert bound.text.strip()[:1] in "-0123456789"
    assert [token.id for token in lab.chat("abc", **options).tokens] == [token.id for token in reply.tokens]


def test_nothing_of_it_is_left_for_the_next_model(tiny_folder):
    before = gl.load(tiny_folder("26B-A4B"), dtype="float32")
    logits, config = _logits(before, _ids(before)), before.config.to_dict()
    packed = gl.load(tiny_folder("26B-A4B"), dtype="float32", quantization="int4-g32-e8")
    packed.chat("abc", max_new_tokens=2, temperature=0)
    del packed
    after = gl.load(tiny_folder("26B-A4B"), dtype="float32")
    assert torch.equal(_logits(after, _ids(after)), logits)
    assert after.config.to_dict() == config
    assert not getattr(after.config, "quantization_config", None)
    for (name, one), (_, other) in zip(
        before.model.state_dict().items(), after.model.state_dict().items(), strict=True
    ):
        assert torch.equal(one, other), name


def test_a_repr_says_4_bit_only_when_earned(tiny_folder):
    lab = gl.load(tiny_folder("31B"), dtype="float32", quantization="int4")
    assert lab.bits().mean > 5
    assert "4-bit" not in repr(lab)
    assert f"{lab.bits().mean:.1f} bits a weight" in repr(lab)
    assert gl.predicted_bits("26b-a4b-it", quantization="int4-g32-e8").summary.startswith("4-bit")
    assert not gl.predicted_bits("26b-a4b-it", quantization="nf4").summary.startswith("4-bit")


@pytest.mark.parametrize("quantization", ["int8", "int4"])
@pytest.mark.parametrize("size", ["26b-a4b-it", "e2b-it", "12b-it", "31b-it", "e4b-it"])
def test_plan_family_and_load_agree_on_the_bytes(size, quantization):
    predicted = gl.predicted_bits(size, quantization=quantization)
    shape = gl.family.get_architecture(find(size).size)
    assert predicted.bytes == gl.family.weight_bytes(shape, quantization)
    plan = gl.plan(
        find(size).size,
        hardware="H100",
        runtime="transformers",
        quantization=quantization,
        images=280,
    )
    weights = {"embedding", "head", "ple_table", "attention", "dense", "experts", "other", "towers"}
    assert sum(part.bytes for part in plan.parts if part.key in weights) == pytest.approx(predicted.bytes)


def test_too_little_memory_is_said_with_the_packed_size_before_loading(tiny_folder, monkeypatch):
    import transformers

    from gemma_lab.models.loading import placement

    folder = tiny_folder("26B-A4B")
    free = 3 * gl.predicted_bits(folder, quantization="int4").bytes
    device = placement.hardware.Device("cpu", "CPU", bfloat16=False, total=2**34, free=int(free))
    monkeypatch.setattr(placement.hardware, "devices", lambda: (device,))
    monkeypatch.setattr(
        transformers.Gemma4ForConditionalGeneration,
        "from_pretrained",
        lambda *_, **__: pytest.fail("the weights were touched"),
    )
    packed = gl.predicted_bits(folder, quantization="int4").bytes
    with pytest.raises(DoesNotFit) as raised:
        gl.load(folder, dtype="bfloat16", quantization="int4")
    assert f"{packed / 2**20:.1f} MiB of weights" in raised.value.what
    assert "int4-g32" in raised.value.what


def test_what_does_not_fit_names_the_packing_that_does(monkeypatch):
    from gemma_lab.models.loading import placement

    gpu = placement.hardware.Device("cuda:0", "RTX 3090", bfloat16=True, total=24 * 2**30, free=23 * 2**30)
    monkeypatch.setattr(placement.hardware, "devices", lambda: (gpu,))
    with pytest.raises(DoesNotFit) as raised:
        gl.load("26b-a4b-it", offline=True)
    assert 'quantization="int4" has 15.3 GiB' in raised.value.hint


def test_a_weight_of_another_layer_is_found_out(tiny_folder, tmp_path, monkeypatch):
    """What is loaded is compared with the file after packing, too."""
    from gemma_lab.models.quantization import integer_quantizer

    monkeypatch.setattr(
        integer_quantizer, "quantize", lambda weight, **options: quantize(weight.flip(0), **options)
    )
    with pytest.raises(BadCheckpoint, match="after packing"):
        gl.load(tiny_folder("31B"), dtype="float32", quantization="int8")


@pytest.mark.parametrize(
    "wanted",
    [
        "int5", "Q4_K_M", "w4a16", "bf16", 4, True, "", {"bits": 4}, "int4-g1", "mobile", float("nan"),
    ],
)  # fmt: skip
def test_what_is_no_method_is_refused_before_anything_is_read(wanted):
    with pytest.raises(LabError, match=r"quanti|16-bit|dtype"):
        gl.load("no/such-model-anywhere", quantization=wanted, offline=True)


@pytest.mark.parametrize("options", [{"bits": 5}, {"bits": True}, {"group_size": 8}, {"embeddings": 3}])
def test_integer_weights_that_do_not_exist(options):
    with pytest.raises(LabError):
        gl.planning.integer_weights(**options)


def test_parts_that_are_to_be_left(tiny_folder, recwarn):
    kept = gl.planning.integer_weights(4, group_size=16, keep=("experts", "attention"))
    assert kept.name == "int4-g16-no-attention-no-experts"
    lab = gl.load(tiny_folder("26B-A4B"), dtype="bfloat16", quantization=kept)
    bits = lab.bits()
    assert bits.method == kept.name
    assert (bits["experts"].bits, bits["attention"].bits, bits["mlp"].bits) == (16, 16, 5)
    predicted = gl.predicted_bits(tiny_folder("26B-A4B"), quantization=kept)
    assert [(part.part, part.bytes) for part in bits.parts] == [
        (part.part, part.bytes) for part in predicted.parts
    ]
    assert not [warning for warning in recwarn if "leaves the" in str(warning.message)]
    for keep in ("router", ["mlp", 3], 5, None):
        with pytest.raises(LabError):
            gl.planning.integer_weights(4, keep=keep)


def test_integer_weights_are_what_their_name_says():
    made = gl.planning.integer_weights(4, group_size=64, embeddings=8)
    assert made.name == "int4-g64-e8"
    assert made.bits["experts"] == 4.25
    assert made.bits["embedding"] == 8.25
    predicted = gl.predicted_bits("26b-a4b-it", quantization=made)
    assert predicted["experts"].bits == made.bits["experts"]
    assert predicted == gl.predicted_bits("26b-a4b-it", quantization="int4-g64-e8")


@pytest.mark.parametrize("name", ["nf4", "bnb-int8", "torchao-int8"])
def test_a_missing_library_is_named_before_anything_is_loaded(tiny_folder, name, monkeypatch):
    monkeypatch.setattr("gemma_lab.models.quantization.methods.is_installed", lambda _: False)
    with pytest.raises(MissingExtra, match="gemma_lab"):
        gl.load(tiny_folder("31B"), quantization=name)


def _library(folder, name):
    with pytest.warns(UserWarning, match="experts") if "26B" in str(folder) else warnings.catch_warnings():
        return gl.load(folder, dtype="float32", quantization=name)


@needs_bitsandbytes
@pytest.mark.parametrize("size", ["26B-A4B", "E2B"])
def test_bitsandbytes_int8(tiny_folder, size):
    plain = gl.load(tiny_folder(size), dtype="float32")
    _check_library(_library(tiny_folder(size), "bnb-int8"), tiny_folder(size), plain, most=8.7)


@needs_torchao
@pytest.mark.parametrize("size", ["26B-A4B", "E2B"])
def test_torchao_int8(tiny_folder, size):
    plain = gl.load(tiny_folder(size), dtype="float32")
    _check_library(_library(tiny_folder(size), "torchao-int8"), tiny_folder(size), plain, most=10)


@pytest.fixture(scope="module")
def even_folder(tmp_path_factory):
    """Return a tiny dense checkpoint whose matrices have multiples of 64 rows and columns."""
    config = shapes.tiny_config("31B")
    config.text_config.intermediate_size = 128
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, config.architectures[0])(config)
    folder = tmp_path_factory.mktemp("even")
    model.save_pretrained(folder)
    shapes.tiny_processor("31B").save_pretrained(folder)
    return folder


@needs_bitsandbytes
def test_bitsandbytes_nf4(even_folder):
    from bitsandbytes.functional import dequantize_4bit

    lab, plain = (
        gl.load(even_folder, dtype="float32", quantization="nf4"),
        gl.load(even_folder, dtype="float32"),
    )
    modules = dict(plain.model.named_modules())
    for name, module in lab.model.named_modules():
        if type(module).__name__ == "Linear4bit":
            modules[name].weight.data.copy_(dequantize_4bit(module.weight.data, module.weight.quant_state))
    _check_library(lab, even_folder, plain, most=5)


@needs_bitsandbytes
def test_nf4_names_shapes_that_its_kernel_does_not_take(tiny_folder, monkeypatch):
    monkeypatch.setattr("bitsandbytes.functional.has_avx512bf16", lambda: True)
    with pytest.raises(LabError, match="multiples of 32 rows"):
        gl.load(tiny_folder("31B"), device="cpu", quantization="nf4")


def _check_library(lab, folder, plain, *, most):
    bits = lab.bits()
    assert bits["attention"].bits <= most
    assert bits["mlp"].bits <= most
    assert bits["vision"].bits == 32
    predicted = gl.predicted_bits(folder, quantization=bits.method, dtype="float32")
    assert [part.part for part in predicted.parts] == [part.part for part in bits.parts]
    for one, other in zip(bits.parts, predicted.parts, strict=True):
        assert (one.weights, one.bits) == (other.weights, pytest.approx(other.bits, rel=0.25)), one.part
    if "experts" in {part.part for part in bits.parts}:
        assert bits["experts"].bits == 32
        assert bits.left_out.part == "experts"
    error = (_logits(lab, _ids(lab)) - _logits(plain, _ids(plain))).norm() / _logits(
        plain, _ids(plain)
    ).norm()
    # a router of random weights turns small differences into other experts
    assert error < (0.8 if "experts" in {part.part for part in bits.parts} else 0.3)
    assert lab.chat("abc", max_new_tokens=2, temperature=0).tokens


def _mobile(folder, tmp_path, *, bits=4):
    """Write the checkpoint of a folder in Google's mobile format: integers with a scale per row."""
    import shutil

    target = tmp_path / "mobile"
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    config = json.loads((target / "config.json").read_text())
    packed = {}
    for name, weight in tensors.items():
        if ".language_model.layers." not in name or not name.endswith("proj.weight") or ".per_layer" in name:
            packed[name] = weight
            continue
        scale = weight.float().abs().amax(1, keepdim=True) / 7
        codes = ((weight.float() / scale).round().clamp(-8, 7) + 8).to(torch.uint8)
        packed[name] = (codes[:, 0::2] | (codes[:, 1::2] << 4)).contiguous()
        packed[name.replace("weight", "weight_scale")] = scale
        for side in ("input", "output"):
            packed[name.replace("weight", f"{side}_activation_scale")] = torch.tensor(0.0)
    save_file(packed, target / "model.safetensors", metadata={"format": "pt"})
    config["quantization_config"] = {
        "quant_method": "gemma",
        "num_bits": bits,
        "modules_to_not_convert": [
            "lm_head", ".*vision_tower", ".*embed_vision", ".*audio_tower", ".*embed_audio",
            ".*per_layer_input_gate", ".*per_layer_projection", ".*per_layer_model_projection", ".*router",
        ],
    }  # fmt: skip
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_the_mobile_format(tiny_folder, tmp_path):
    folder = _mobile(tiny_folder("E2B"), tmp_path)
    lab = gl.load(folder, dtype="float32")
    bits = lab.bits()
    assert bits.method == "gemma"
    assert 4 <= bits["attention"].bits < 6
    assert bits["attention"].format == "int4"
    assert "gemma" in repr(lab)
    plain = gl.load(tiny_folder("E2B"), dtype="float32")
    for name, module in plain.model.named_modules():
        other = lab.model.get_submodule(name)
        if type(other).__name__ == "QuantizedLinear":
            module.weight.data.copy_(other._dequantize_weights())
    torch.testing.assert_close(_logits(lab, _ids(lab)), _logits(plain, _ids(plain)), rtol=1e-4, atol=1e-4)
    with pytest.raises(BadCheckpoint, match="packed already"):
        gl.load(folder, quantization="int4")


def _compressed(folder, tmp_path):
    """Write the checkpoint of a folder in compressed-tensors' w4a16: groups of 32, eight codes an integer."""
    import shutil

    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    target = tmp_path / "compressed"
    shutil.copytree(folder, target)
    packed = {}
    for name, weight in load_file(target / "model.safetensors").items():
        if ".language_model.layers." not in name or "proj.weight" not in name or ".per_layer" in name:
            packed[name] = weight
            continue
        groups = weight.float().unflatten(1, (-1, 32))
        scale = groups.abs().amax(2) / 7
        codes = (groups / scale.unsqueeze(2)).round().clamp(-8, 7).flatten(1).to(torch.int8)
        stem = name.removesuffix("weight")
        packed[f"{stem}weight_packed"] = pack_to_int32(codes, 4)
        packed[f"{stem}weight_scale"] = scale.to(torch.bfloat16)
        packed[f"{stem}weight_shape"] = torch.tensor(weight.shape)
    save_file(packed, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": [
            "lm_head", "re:.*vision_tower.*", "re:.*embed_vision.*", "re:.*audio.*", "re:.*per_layer.*",
            "re:.*router.*",
        ],
    }  # fmt: skip
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.skipif(
    importlib.util.find_spec("compressed_tensors") is None, reason="compressed-tensors is not installed"
)
def test_compressed_tensors_are_unpacked_and_said_to_be(tiny_folder, tmp_path):
    folder = _compressed(tiny_folder("31B"), tmp_path)
    lab = gl.load(folder, dtype="float32")
    at_first = lab.bits().bytes
    _logits(lab, _ids(lab))
    assert lab.bits().bytes == at_first  # nothing is unpacked on first use that was counted as packed
    assert lab.bits()["attention"].bits >= 16
    assert "4-bit" not in repr(lab)
    plain = gl.load(tiny_folder("31B"), dtype="float32")
    for name, weight in plain.model.named_parameters():
        if ".language_model.layers." in name and name.endswith("proj.weight"):
            groups = weight.data.unflatten(1, (-1, 32))
            scale = (groups.abs().amax(2, keepdim=True) / 7).float()
            codes = (groups / scale).round().clamp(-8, 7)
            weight.data = (codes * scale.to(torch.bfloat16).float()).flatten(1)
    error = (_logits(lab, _ids(lab)) - _logits(plain, _ids(plain))).norm() / _logits(
        plain, _ids(plain)
    ).norm()
    assert error < 0.05
    assert lab.chat("abc", max_new_tokens=2, temperature=0).tokens


@pytest.mark.parametrize("method", ["gptq", "hqq", "fp8", "nvfp4", "mxfp4", "nonsense", None, 3])
def test_formats_that_are_not_read(tiny_folder, tmp_path, method):
    import shutil

    folder = tmp_path / "other"
    shutil.copytree(tiny_folder("31B"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint):
        gl.load(folder)
