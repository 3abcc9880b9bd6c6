"""Checkpoints: configurations with a broken field, broken generation defaults, weights and folders."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from support import shapes

import gemma_lab as gl
from corpus.row import Corpus, Row
from gemma_lab.errors import BadCheckpoint, LabError, NotGemma4, UnknownModel

MISSING = object()


@cache
def _original(size: str) -> Path:
    """Return a tiny checkpoint of one shape, made once."""
    return shapes.tiny_checkpoint(size, Path(tempfile.mkdtemp(prefix="corpus-")) / size)


def _copy(corpus: Corpus, size: str) -> Path:
    """Return a folder with the files of a tiny checkpoint; what is not changed is linked."""
    folder = corpus.folder / size
    folder.mkdir()
    for file in _original(size).iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def _edit(file: Path, path: str, value: Any) -> None:
    """Set a field of a JSON file, or remove it."""
    content = json.loads(file.read_text())
    *parents, name = path.split(".")
    fields = content
    for parent in parents:
        fields = fields[parent]
    if value is MISSING:
        del fields[name]
    else:
        fields[name] = value
    file.unlink()
    file.write_text(json.dumps(content))


def _field(
    path: str,
    value: Any,
    *holds: str,
    size: str = "26B-A4B",
    file: str = "config.json",
    raises: type[LabError] = BadCheckpoint,
) -> Row:
    """Return a row: a checkpoint with this value in a field is refused, and the error names the field."""

    def run(corpus: Corpus) -> Any:
        folder = _copy(corpus, size)
        _edit(folder / file, path, value)
        return gl.load(folder, dtype="float32", progress=False)

    shown = "missing" if value is MISSING else repr(value)
    where = "" if file == "config.json" else f"{file}: "
    return Row(
        f"{size}: {where}{path} = {shown}", run, raises=raises, holds=holds or (path.rpartition(".")[2],)
    )


def _loads(name: str, path: str, value: Any, *, size: str = "26B-A4B", file: str = "config.json") -> Row:
    """Return a row: a checkpoint with this value in a field loads."""

    def run(corpus: Corpus) -> int:
        folder = _copy(corpus, size)
        _edit(folder / file, path, value)
        return int(gl.load(folder, dtype="float32", progress=False).context)

    return Row(f"{size}: {name}", run, check=lambda context: context > 0)


def _weights(name: str, change: Callable[[dict[str, Any]], str], *holds: str, every: bool = False) -> Row:
    """Return a row: a checkpoint with these weights is refused, and the error names the weight."""

    def run(corpus: Corpus) -> Any:
        from safetensors.torch import load_file, save_file

        folder = _copy(corpus, "31B")
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        (folder / "model.safetensors").unlink()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        model = gl.load(folder, dtype="float32", progress=False)
        if every:
            model.check_weights()
        return model

    return Row(f"weights: {name}", run, raises=BadCheckpoint, holds=holds)


def _set(suffix: str, value: float, index: int = 0) -> Callable[[dict[str, Any]], str]:
    def change(tensors: dict[str, Any]) -> str:
        name = next(name for name in tensors if name.endswith(suffix))
        tensors[name].view(-1)[index] = value
        return name

    return change


def _folder(name: str, make: Callable[[Path], Any], raises: type[LabError], *holds: str) -> Row:
    def run(corpus: Corpus) -> Any:
        return gl.load(make(corpus.folder), progress=False)

    return Row(f"folder: {name}", run, raises=raises, holds=holds)


def _gguf(folder: Path) -> Path:
    file = folder / "gemma-4-E2B-it-Q4_K_M.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    return file


def _gguf_with_config(folder: Path) -> Path:
    shutil.copy(_original("31B") / "config.json", folder)
    _gguf(folder)
    return folder


def _one_file(folder: Path) -> Path:
    return _original("31B") / "model.safetensors"


def _without_weights(folder: Path) -> Path:
    shutil.copy(_original("31B") / "config.json", folder)
    return folder


def _fields(
    section: str, names: tuple[str, ...], values: tuple[Any, ...], *, size: str = "26B-A4B"
) -> list[Row]:
    """Return a row for every pair of a field of a section and a value."""
    return [_field(f"{section}.{name}", value, size=size) for name in names for value in values]


def _generation(name: str, *values: Any) -> list[Row]:
    """Return a row for every value of a field of ``generation_config.json``."""
    return [_field(name, value, file="generation_config.json") for value in values]


TEXT = "text_config"
_WIDTHS = (
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
_SLIDING = "sliding_attention"
_ROPE = f"{TEXT}.rope_parameters"

CONFIGURATIONS = [
    *_fields(TEXT, _WIDTHS, (0, -1, "64", 1.5, True, 10**12)),
    *_fields(TEXT, ("hidden_size", "intermediate_size", "moe_intermediate_size"), (10**9,)),
    *_fields(TEXT, ("hidden_size", "intermediate_size", "vocab_size", "num_key_value_heads"), (MISSING,)),
    *_fields(TEXT, ("num_hidden_layers",), (0, -3, 10**9, "6", None, 2.0)),
    *_fields(TEXT, ("num_experts", "top_k_experts", "moe_intermediate_size"), (0, -1, "8", None)),
    *_fields(TEXT, ("sliding_window",), (0, -1, "16")),
    *_fields(TEXT, ("max_position_embeddings",), (0, -1, "long")),
    *_fields(TEXT, ("rms_norm_eps",), (-1, "small", math.inf)),
    *_fields(TEXT, ("layer_types",), ([_SLIDING] * 5, [_SLIDING] * 5 + ["diagonal_attention"], _SLIDING)),
    *_fields("vision_config", ("hidden_size", "patch_size", "num_hidden_layers"), (0, -1, "16")),
    *_fields("vision_config", ("position_embedding_size",), (0, -1, "256")),
    *_fields(TEXT, ("num_kv_shared_layers",), (-1, 10, 99, "5"), size="E2B"),
    *_fields(TEXT, ("hidden_size_per_layer_input",), (-8, "8"), size="E2B"),
    *_fields(
        "audio_config", ("hidden_size", "output_proj_dims", "conv_kernel_size"), (0, -1, "32"), size="E2B"
    ),
    *_fields("vision_config", ("mm_embed_dim", "mm_posemb_size"), (0, -64, "64"), size="12B"),
    _field(f"{TEXT}.num_hidden_layers", 7, "layer_types"),
    _field(f"{TEXT}.top_k_experts", 129, "top_k_experts", "128"),
    _field(f"{TEXT}.num_experts", 64),
    _field(f"{TEXT}.num_attention_heads", 3, "num_key_value_heads", "3"),
    _field(f"{TEXT}.final_logit_softcapping", -30),
    _field(f"{TEXT}.hidden_activation", "gelu_of_tomorrow"),
    _field(_ROPE, "none"),
    _field(f"{_ROPE}.full_attention.rope_theta", 0),
    _field(f"{_ROPE}.full_attention.rope_type", "spiral"),
    _field(f"{TEXT}.tie_word_embeddings", "yes"),
    _field(f"{TEXT}.enable_moe_block", 1),
    _field(f"{TEXT}.hidden_size", 128, "hidden_size = 128"),
    _field(f"{TEXT}.vocab_size", 600, "vocab_size = 600"),
    *(_field(TEXT, value) for value in ({}, None, [], "gemma4_text")),
    _field("vision_config", "gemma4_vision"),
    _field("eos_token_id", "x"),
    _field("image_token_id", -5),
    _field("image_token_id", 1_000_000),
    _field("dtype", "float99"),
    _field("model_type", "llama", "llama", raises=NotGemma4),
    _field("model_type", MISSING, "None", raises=NotGemma4),
    _loads("a longer context", f"{TEXT}.max_position_embeddings", 1 << 20),
    _loads("an unknown field", f"{TEXT}.invented_later", {"a": [1]}),
]

GENERATION = [
    *_generation("eos_token_id", "x", 1.5, [1, "x"], 10**6, -7, {}),
    *_generation("pad_token_id", "x", [0], 10**6),
    *_generation("suppress_tokens", "x", ["x"], [10**6]),
    *_generation("temperature", "hot", -1),
    *_generation("top_k", -1, 2.5, "all"),
    *_generation("top_p", 1.5),
    _loads("several tokens that end", "eos_token_id", [1, 2, 3], file="generation_config.json"),
]

WEIGHTS = [
    _weights("NaN first", _set("layers.0.mlp.up_proj.weight", math.nan), "layers.0.mlp.up_proj.weight"),
    _weights(
        "infinity in a norm", _set("layers.3.input_layernorm.weight", math.inf, 5), "layers.3.input_layernorm"
    ),
    _weights(
        "NaN somewhere", _set("embed_tokens.weight", math.nan, 20_011), "embed_tokens.weight", every=True
    ),
    _weights(
        "one is gone",
        lambda tensors: tensors.pop("model.language_model.norm.weight"),
        "language_model.norm.weight",
        "missing",
    ),
    _weights(
        "one has another shape",
        lambda tensors: tensors.update(
            {"model.language_model.norm.weight": tensors["model.language_model.norm.weight"][:-1].clone()}
        ),
        "norm.weight",
        "63",
    ),
]

FOLDERS = [
    _folder("a GGUF file", _gguf, BadCheckpoint, "GGUF", "safetensors"),
    _folder(
        "a folder of a GGUF file", lambda folder: _gguf(folder).parent, BadCheckpoint, "GGUF", "safetensors"
    ),
    _folder("a GGUF file and a configuration", _gguf_with_config, BadCheckpoint, "GGUF"),
    _folder("one weight file", _one_file, UnknownModel, "folder"),
    _folder("no weights", _without_weights, BadCheckpoint, "no weights"),
    _folder("nothing", lambda folder: folder, BadCheckpoint, "config.json"),
    _folder(
        "a list as configuration",
        lambda folder: (folder / "config.json").write_text("[]") and folder,
        BadCheckpoint,
        "object",
    ),
]

ROWS = [*CONFIGURATIONS, *GENERATION, *WEIGHTS, *FOLDERS]
