"""Loading for real: tiny checkpoints of all five shapes, saved by transformers and loaded by us."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from support import shapes

import gemma_lab as gl
from gemma_lab.errors import BadCheckpoint, DoesNotFit, LabError, NotGemma4


def _inputs(lab, *, hears):
    content = [
        {
            "type": "image",
            "image": Image.fromarray(np.arange(90 * 60 * 3, dtype=np.uint8).reshape(60, 90, 3)),
        },
        {"type": "text", "text": "What is 12?"},
    ]
    if hears:
        wave = np.sin(np.arange(8000) / 20).astype(np.float32)
        content.append({"type": "audio", "audio": wave})
    return lab.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True,
    )  # fmt: skip


@torch.no_grad()
def _logits(model, inputs):
    # A copy, because rounding depends on how weights are aligned, and those read from a file lie otherwise.
    return copy.deepcopy(model)(**inputs).logits


@pytest.mark.parametrize("size", shapes.SIZES)
def test_what_is_loaded_is_what_was_saved(tiny_folder, size):
    lab = gl.load(tiny_folder(size), dtype="float32")
    inputs = _inputs(lab, hears=size in shapes.HEARS)
    assert "pixel_values" in inputs
    assert ("input_features" in inputs) == (size in shapes.HEARS)
    assert torch.equal(_logits(lab.model, inputs), _logits(shapes.tiny_model(size), inputs))
    assert not lab.model.training


@pytest.mark.parametrize("size", shapes.SIZES)
def test_each_medium_matters(tiny_lab, size):
    """A tower that is not heard would make the equality above empty."""
    lab = tiny_lab(size)
    inputs = _inputs(lab, hears=size in shapes.HEARS)
    before = _logits(lab.model, inputs)
    for key in [k for k in ("pixel_values", "input_features") if k in inputs]:
        assert not torch.equal(before, _logits(lab.model, {**inputs, key: inputs[key] * 0.5}))


@pytest.mark.parametrize("size", shapes.SIZES)
def test_text_only_checkpoints(tmp_path, size):
    lab = gl.load(shapes.tiny_text_checkpoint(size, tmp_path / "text"), dtype="float32")
    assert lab.config.model_type.endswith("_text")
    ids = {"input_ids": torch.arange(40, 80)[None]}
    assert torch.equal(_logits(lab.model, ids), _logits(shapes.tiny_model(size), ids))


@pytest.mark.parametrize("size", ["E2B", "26B-A4B", "12B"])
def test_dtypes_between_file_and_memory(tmp_path, size):
    folder = shapes.tiny_checkpoint(size, tmp_path / size, dtype="bfloat16")
    lab = gl.load(folder, dtype="float32")
    assert {parameter.dtype for parameter in lab.model.parameters()} == {torch.float32}
    assert gl.load(folder, dtype="bfloat16").dtype is torch.bfloat16
    assert gl.load(folder).dtype is torch.float32  # a CPU with room


def test_shards_device_map_and_attention(tmp_path):
    folder = shapes.tiny_checkpoint("31B", tmp_path / "sharded", max_shard_size="300KB")
    inputs = {"input_ids": torch.arange(40, 80)[None]}
    wanted = _logits(shapes.tiny_model("31B"), inputs)
    assert torch.equal(_logits(gl.load(folder, device_map="auto").model, inputs), wanted)
    eager = gl.load(folder, attn_implementation="eager")
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize("size", shapes.SIZES)
def test_what_does_not_fit_goes_to_disk(tmp_path, monkeypatch, size):
    folder = shapes.tiny_checkpoint(size, tmp_path / "sharded", max_shard_size="300KB")
    bytes_free = sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 2
    memory = SimpleNamespace(total=16 * 2**30, available=bytes_free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(DoesNotFit, match="offload_folder"):
        gl.load(folder, device_map="auto", dtype="float32")
    lab = gl.load(folder, device_map="auto", offload_folder=tmp_path / "offload", dtype="float32")
    assert re.search(r"float32 on (cpu\+)?disk\)", repr(lab))
    inputs = {"input_ids": torch.arange(40, 80)[None]}
    with torch.no_grad():
        torch.testing.assert_close(lab.model(**inputs).logits, _logits(shapes.tiny_model(size), inputs))
    assert lab.chat("Hi", max_new_tokens=2, seed=1).tokens


@pytest.mark.parametrize(
    "wish",
    [
        {"attn_implementation": "nonsense"},
        {"device_map": {"model.language_model.layers.3": "disk", "": "cpu"}},
    ],
)
def test_what_transformers_cannot_do_is_a_lab_error(tiny_folder, tmp_path, wish):
    with pytest.raises(LabError, match="cannot load tiny-31B this way"):
        gl.load(tiny_folder("31B"), offload_folder=tmp_path / "offload", dtype="float32", **wish)


def test_the_mini_is_loaded_without_a_name():
    lab = gl.load()
    assert (lab.name, lab.checkpoint.variant) == ("mini-moe", "mini")
    assert {"text", "image", "video"} == lab.modalities


def test_the_environment_names_the_model(tiny_folder, monkeypatch):
    monkeypatch.setenv("GEMMA_LAB_MODEL", str(tiny_folder("31B")))
    assert gl.load().name == "tiny-31B"


def test_refused_arguments(tiny_folder):
    with pytest.raises(LabError, match="overflows in float16"):
        gl.load(tiny_folder("31B"), dtype="float16")


def test_too_little_memory_is_said_before_anything_is_loaded(tiny_folder, monkeypatch):
    import transformers

    def never(*_, **__):
        pytest.fail("the weights were touched")

    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", never)
    memory = SimpleNamespace(total=16 * 2**30, available=30 * 2**20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(DoesNotFit, match=r"5\.1 MiB of weights in bfloat16 and .* 30\.0 MiB of 16\.0 GiB"):
        gl.load(tiny_folder("26B-A4B"))


def test_a_hub_model_too_large_is_refused_without_a_download(monkeypatch):
    memory = SimpleNamespace(total=16 * 2**30, available=8 * 2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(DoesNotFit, match=r"26b-a4b-it does not fit on cpu .* 48\.1 GiB of weights"):
        gl.load("26b-a4b-it")


def test_the_trap_of_random_text_weights(tiny_folder, tmp_path):
    """A multimodal checkpoint under a text configuration: transformers alone would answer noise."""
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "trap")
    config = json.loads((folder / "config.json").read_text())["text_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match=r"weights are missing and would stay random: .*model\.layers\.0"):
        gl.load(folder)


def _without(folder, name):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    key = next(key for key in weights if key.endswith(name))
    del weights[key]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return key


@pytest.mark.parametrize(
    "name", ["layers.3.mlp.up_proj.weight", "layers.2.layer_scalar", "std_scale", "embed_tokens.weight"]
)
def test_a_missing_weight_is_named(tiny_folder, tmp_path, name):
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    key = _without(folder, name)
    with pytest.raises(BadCheckpoint) as caught:
        gl.load(folder)
    assert key in caught.value.what
    assert "missing" in caught.value.what


def test_another_shape_and_an_extra_weight_are_named(tiny_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    weights = load_file(folder / "model.safetensors")
    extra = {**weights, "model.language_model.layers.9.mlp.up_proj.weight": torch.zeros(2, 2)}
    save_file(extra, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadCheckpoint, match=r"1 weight has no place in the model: .*layers\.9\.mlp"):
        gl.load(folder)
    key = "model.language_model.layers.0.mlp.up_proj.weight"
    save_file(
        {**weights, key: weights[key][:-1].clone()}, folder / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(BadCheckpoint, match=r"another shape .*up_proj\.weight \(95, 64\) for \(96, 64\)"):
        gl.load(folder)


def test_a_corrupt_file_and_another_architecture(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(BadCheckpoint, match="truncated"):
        gl.load(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(NotGemma4, match="LlamaForCausalLM"):
        gl.load(folder)


def test_code_in_a_checkpoint_is_never_run(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Evil: pass\n")
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        content = json.loads((folder / name).read_text())
        kinds = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor")
        content["auto_map"] = dict.fromkeys(kinds, "evil.Evil") | {
            "AutoTokenizer": ["evil.Evil", "evil.Evil"]
        }
        (folder / name).write_text(json.dumps(content))
    with contextlib.suppress(BadCheckpoint):  # refusing is as good as ignoring
        gl.load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
def test_a_missing_processor_file(tiny_folder, tmp_path, name):
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(BadCheckpoint, match="processor"):
        gl.load(folder)


def test_a_tokenizer_of_another_model(tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder("31B"), tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["image_token_id"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match="marks image with token"):
        gl.load(folder)
    config["text_config"]["vocab_size"] = 100
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadCheckpoint, match="vocab_size = 100"):
        gl.load(folder)


def _standard_error(code):
    quiet = ("HF_HUB_DISABLE_PROGRESS_BARS", "TRANSFORMERS_VERBOSITY")  # this run's own switches
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_small_models_load_without_a_bar_and_switches_are_put_back(tiny_folder):
    code = (
        "import transformers.utils.logging as bars, gemma_lab as gl\n"
        f"gl.load({str(tiny_folder('31B'))!r})\n"
        "assert bars.is_progress_bar_enabled()\n"
        "bars.disable_progress_bar()\n"
        f"gl.load({str(tiny_folder('31B'))!r}, progress=False)\n"
        "assert not bars.is_progress_bar_enabled()\n"
    )
    assert "%" not in _standard_error(code)


@pytest.mark.parametrize("progress", [True, False])
def test_large_models_show_a_bar_unless_told_not_to(tiny_folder, progress):
    code = (
        "import sys, gemma_lab as gl, gemma_lab.models.loading.load\n"
        "sys.modules['gemma_lab.models.loading.load']._SHOWN_FROM = 0\n"
        f"gl.load({str(tiny_folder('31B'))!r}, progress={progress})\n"
    )
    assert ("100%" in _standard_error(code)) is progress
