"""Check that a model's weights are the checkpoint's: none random, none dropped, none of them NaN.

transformers fills weights that it does not find with random numbers and only logs it. A multimodal checkpoint
loaded as a text model then answers noise, so names and shapes are compared before loading, and the outcome
afterwards, by name and by value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ...errors import BadCheckpoint
from ..quantization.dequantized import first_row
from ..quantization.layers import packed_parameters
from .checkpoint_files import FLOATING, CheckpointFiles, Tensor
from .configuration import fields_with

_SAMPLE = 16  # values of each weight that are compared with its file
_FINITE_SAMPLE = 4096  # values of each weight that are searched for NaN and infinity
_LISTED = 5
_ROUNDING = 0.5  # of a row's size: what packing it may change
_HINT = (
    "The files do not belong to this configuration: check model_type in config.json against the names of the "
    "weights, or download the checkpoint again."
)


def check_shapes(model: Any, files: CheckpointFiles) -> None:
    """Compare names and shapes of a model on the meta device with the headers of a checkpoint's files.

    Where a file has names that the model has not, transformers may rename or join weights: then only the
    shapes of equal names and the number of all elements are compared, and `verify_weights` does the rest.

    Raises
    ------
    BadCheckpoint
        Naming weights of another shape and the fields of the configuration that give it, weights that are
        missing, or both numbers of elements.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = {
        name for name in shapes.keys() & files.tensors.keys() if shapes[name] != files.tensors[name].shape
    }
    sizes = {size for name in wrong for size in set(shapes[name]) - set(files.tensors[name].shape)}
    _refuse(
        files,
        {f"{name} {files.tensors[name].shape} for {shapes[name]}" for name in wrong},
        "has another shape",
        "have other shapes",
        "(in the file, and for the model)",
        fields=fields_with(files.config, sizes),
    )
    if files.tensors.keys() <= shapes.keys():
        missing = {name for name in shapes.keys() - files.tensors.keys() if not _tied(model, name)}
        _refuse(files, missing, "is missing", "are missing", "and would stay random")
    expected = sum(tensor.numel() for name, tensor in model.state_dict().items() if not _tied(model, name))
    stored = sum(tensor.elements for tensor in files.tensors.values())
    if expected > 1.05 * stored:
        raise BadCheckpoint(
            f"{files.folder}: its configuration describes {expected:,} numbers; the files hold {stored:,}.",
            hint=_HINT,
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
        Naming the weights that are missing, of another shape, unexpected, not what the file holds, or not
        finite in a sample of their values.
    """
    missing = {name for name in info["missing_keys"] if not _tied(model, name)}
    shapes = {f"{name} {tuple(stored)} for {tuple(shape)}" for name, stored, shape in info["mismatched_keys"]}
    _refuse(files, missing, "is missing", "are missing", "and would stay random")
    _refuse(files, shapes, "has another shape", "have other shapes", "(in the file, and for the model)")
    _refuse(files, set(info["unexpected_keys"]), "has no place", "have no place", "in the model")
    if info["error_msgs"]:
        raise BadCheckpoint(f"{files.folder}: {info['error_msgs'][0]}", hint=_HINT)
    _compare(model, files)
    require_finite(model, files.folder)


def require_finite(model: Any, source: Any, *, every_value: bool = False) -> None:
    """Raise `BadCheckpoint`, naming the tensors, if a model's weights hold NaN or infinity.

    Parameters
    ----------
    model
        The model with its weights. Weights that accelerate offloaded to disk are not checked.
    source
        The model's name in the error.
    every_value
        Check every value, which reads all weights once, instead of about 4,096 values of each tensor.
    """
    wrong = []
    for name, tensor in _named(model):
        if tensor.device.type == "meta" or not tensor.is_floating_point() or not _plain(tensor):
            continue
        values = tensor.detach().reshape(-1)
        if not every_value:
            values = values[:: max(1, values.numel() // _FINITE_SAMPLE)]
        # a limit of a clipped layer may be infinite: it is a buffer, not a parameter
        bad = values.isnan() if not isinstance(tensor, torch.nn.Parameter) else ~values.isfinite()
        if bad.any():
            wrong.append(name)
    if wrong:
        listed = ", ".join(wrong[:_LISTED]) + (", …" if len(wrong) > _LISTED else "")
        count = "1 weight holds" if len(wrong) == 1 else f"{len(wrong)} weights hold"
        raise BadCheckpoint(
            f"{source}: {count} NaN or infinity: {listed}.",
            hint="The checkpoint was saved after training had diverged, or in float16: take an earlier one.",
        )


def _tied(model: Any, name: str) -> bool:
    # the output head of Gemma 4 is its embedding table, and is saved once
    return name == "lm_head.weight" and bool(model.config.get_text_config().tie_word_embeddings)


def _refuse(
    files: CheckpointFiles,
    names: set[str],
    one: str,
    many: str,
    tail: str,
    *,
    fields: list[str] | None = None,
) -> None:
    if not names:
        return
    first = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    count = f"1 weight {one}" if len(names) == 1 else f"{len(names)} weights {many}"
    because = f" config.json has {', '.join(fields)}." if fields else ""
    raise BadCheckpoint(f"{files.folder}: {count} {tail}: {first}.{because}", hint=_HINT)


def _compare(model: Any, files: CheckpointFiles) -> None:
    """Read the first values of every weight from its file and compare them with the model's."""
    from safetensors import safe_open

    offloaded = bool(getattr(model, "hf_device_map", None))
    tensors = dict(_named(model))
    packed = {
        f"{path}.{name}": shape
        for path, module in model.named_modules()
        for name, shape in packed_parameters(module).items()
    }
    by_file: dict[Path, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.device.type == "meta":
            if offloaded:
                continue  # on disk, where accelerate keeps it
            raise BadCheckpoint(f"{files.folder}: {name} was never loaded.", hint=_HINT)
        if hasattr(tensor, "placements"):
            continue  # split over processes: this one holds a part, which need not have the first values
        if name in files.tensors:
            by_file.setdefault(files.tensors[name].file, []).append(name)
    for file, names in by_file.items():
        with safe_open(file, framework="pt") as stream:
            for name in names:
                if name in packed or not _as_stored(tensors[name], files.tensors[name]):
                    _compare_packed(model, name, _first_row(stream, name), files)
                    continue
                loaded = _first_values(tensors[name].detach()).cpu()
                stored = _first_values(_first_row(stream, name)).to(loaded.dtype)
                if not torch.allclose(loaded, stored, rtol=0, atol=0, equal_nan=True):
                    raise BadCheckpoint(
                        f"{files.folder}: {name} in the model is not {name} in {file.name}.", hint=_HINT
                    )


def _plain(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds its numbers itself: quantised ones of torchao are of other classes."""
    return not hasattr(tensor, "__tensor_flatten__")


def _as_stored(tensor: torch.Tensor, stored: Tensor) -> bool:
    """Return whether a weight in memory is of the kind that its file holds: numbers, or the same integers."""
    return _plain(tensor) and tensor.is_floating_point() == (stored.dtype in FLOATING)


def _compare_packed(model: Any, name: str, stored: torch.Tensor, files: CheckpointFiles) -> None:
    """Compare the first row, or the first expert, of a weight that was packed with its file.

    Rounding to 4 bits moves weights by about a tenth of their size; another weight differs by more than it.
    """
    loaded = first_row(model, name)
    if loaded is None:
        return
    stored = stored.float()
    error = (loaded.cpu().float().reshape(-1) - stored.reshape(-1)).norm()
    if not error <= _ROUNDING * stored.norm():
        raise BadCheckpoint(
            f"{files.folder}: {name} differs from its file by {error / stored.norm():.0%} after packing.",
            hint=_HINT,
        )


def _named(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _first_row(stream: Any, name: str) -> torch.Tensor:
    part = stream.get_slice(name)
    row: torch.Tensor = part[:1] if part.get_shape() else stream.get_tensor(name)
    return row


def _first_values(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor[:1] if tensor.dim() else tensor).reshape(-1)[:_SAMPLE]
