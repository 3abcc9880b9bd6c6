"""Proof that a model's weights are the checkpoint's: nothing left random, nothing dropped.

transformers fills weights that it does not find with random numbers and only logs it. A multimodal checkpoint
loaded as a text model then answers noise, so the outcome of loading is checked here, by name and by value.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ...errors import BadCheckpoint
from .checkpoint_files import CheckpointFiles

_SAMPLE = 16  # values compared of each weight
_HINT = (
    "The files do not belong to this configuration: check model_type in config.json against the names of the "
    "weights, or download the checkpoint again."
)


def verify_weights(model: Any, info: dict[str, Any], files: CheckpointFiles) -> None:
    """Raise unless every weight of `model` came from `files` and every weight in `files` was used.

    Parameters
    ----------
    model
        Just loaded.
    info
        What ``from_pretrained(output_loading_info=True)`` returned beside it.
    files
        Of the checkpoint.

    Raises
    ------
    BadCheckpoint
        Naming the weights that are missing, of another shape, unexpected, or not what the file says.
    """
    missing = {name for name in info["missing_keys"] if not _tied(model, name)}
    shapes = {f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in info["mismatched_keys"]}
    _refuse(files, missing, "is missing", "are missing", "and would stay random")
    _refuse(files, shapes, "has another shape", "have other shapes", "(in the file, and for the model)")
    _refuse(files, set(info["unexpected_keys"]), "has no place", "have no place", "in the model")
    if info["error_msgs"]:
        raise BadCheckpoint(f"{files.folder}: {info['error_msgs'][0]}", hint=_HINT)
    _compare(model, files)


def _tied(model: Any, name: str) -> bool:
    # the output head of Gemma 4 is its embedding table, and is saved once
    return name == "lm_head.weight" and bool(model.config.get_text_config().tie_word_embeddings)


def _refuse(files: CheckpointFiles, names: set[str], one: str, many: str, tail: str) -> None:
    if not names:
        return
    first = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    count = f"1 weight {one}" if len(names) == 1 else f"{len(names)} weights {many}"
    raise BadCheckpoint(f"{files.folder}: {count} {tail}: {first}.", hint=_HINT)


def _compare(model: Any, files: CheckpointFiles) -> None:
    """Read the first values of every weight from its file and compare them with the model's."""
    from safetensors import safe_open

    offloaded = bool(getattr(model, "hf_device_map", None))
    held = dict(_named(model))
    by_file: dict[Path, list[str]] = {}
    for name, tensor in held.items():
        if tensor.device.type == "meta":
            if offloaded:
                continue  # on disk, where accelerate keeps it
            raise BadCheckpoint(f"{files.folder}: {name} was never loaded.", hint=_HINT)
        if name in files.tensors:
            by_file.setdefault(files.tensors[name].file, []).append(name)
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as stream:
            for name in names:
                tensor = held[name]
                found, wanted = _first(tensor), _head(stream, name).to(tensor.dtype)
                if not torch.allclose(found, wanted, rtol=0, atol=0, equal_nan=True):
                    raise BadCheckpoint(
                        f"{files.folder}: {name} in the model is not {name} in {file.name}.", hint=_HINT
                    )


def _named(model: Any) -> Iterable[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _head(stream: Any, name: str) -> torch.Tensor:
    piece = stream.get_slice(name)
    if not piece.get_shape():
        whole: torch.Tensor = stream.get_tensor(name)
        return whole.reshape(-1)
    rows: torch.Tensor = piece[:1]
    return rows.reshape(-1)[:_SAMPLE]


def _first(tensor: torch.Tensor) -> torch.Tensor:
    rows = tensor.detach() if tensor.dim() == 0 else tensor.detach()[:1]
    return rows.reshape(-1)[:_SAMPLE].cpu()
