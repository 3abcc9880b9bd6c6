"""Read and check a checkpoint on disk before any weight is loaded.

Only JSON files and the headers of safetensors files are read here. Nothing is trusted: a file name that leads
out of the folder, a header that disagrees with its file and a pickle are refused with a reason.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import BadCheckpoint

#: bytes per element, by the names that safetensors headers use
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
}
FLOATING = ("F64", "F32", "F16", "BF16")
"""Those that loading converts to one dtype; packed numbers keep theirs."""

_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_AGAIN = "Download the checkpoint again, or copy it again from where it was made."


@dataclass(frozen=True)
class Tensor:
    """One entry of a safetensors header: `dtype` as written there (``"BF16"``), `shape`, and the `file`."""

    dtype: str
    shape: tuple[int, ...]
    file: Path

    @property
    def elements(self) -> int:
        """Its number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Its bytes in the file."""
        return self.elements * ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class CheckpointFiles:
    """A folder of a checkpoint whose files are consistent.

    Attributes
    ----------
    folder
        Path of the folder.
    config
        Its ``config.json``.
    tensors
        Every weight by its name, over all files.
    """

    folder: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def model_type(self) -> str:
        """The architecture that ``config.json`` names."""
        return str(self.config.get("model_type", ""))

    def weight_bytes(self, item: int) -> int:
        """Return the bytes of all weights with `item` bytes per floating value; others keep their dtype."""
        return sum(
            tensor.elements * (item if tensor.dtype in FLOATING else ITEM_BYTES[tensor.dtype])
            for tensor in self.tensors.values()
        )


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's ``config.json``.

    Raises
    ------
    BadCheckpoint
        If it is missing, or is not a JSON object.
    """
    if not (folder / "config.json").is_file():
        _refuse_gguf(folder)
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6]) or "nothing"
        raise BadCheckpoint(
            f"{folder} is not a checkpoint: it has no config.json (it holds {found}).",
            hint="Give the folder that save_pretrained wrote, with config.json and *.safetensors in it.",
        )
    config = _json(folder / "config.json")
    if not isinstance(config, dict):
        raise BadCheckpoint(f"{folder / 'config.json'} is not a JSON object.", hint=_AGAIN)
    return config


def read_checkpoint(folder: Path) -> CheckpointFiles:
    """Read the configuration and every weight header of a checkpoint.

    Raises
    ------
    BadCheckpoint
        If a file is missing, truncated, inconsistent or of a kind that can run code.
    """
    config = read_config(folder)
    if (folder / "adapter_config.json").is_file():
        raise BadCheckpoint(
            f"{folder} holds an adapter (adapter_config.json), which this version does not load.",
            hint="Merge it into its base model first: PeftModel.merge_and_unload(), then save_pretrained.",
        )
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        for name, tensor in read_header(file).items():
            if name in tensors:
                raise BadCheckpoint(
                    f"{name} is in {tensors[name].file.name} and again in {file.name}.", hint=_AGAIN
                )
            tensors[name] = tensor
    _agree(folder, tensors)
    return CheckpointFiles(folder, config, tensors)


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists() or single.is_symlink():  # the order in which transformers looks
        return [single]
    if index.is_file():
        return [folder / name for name in sorted(set(_weight_map(index).values()))]
    loose = sorted(entry.name for entry in folder.glob("*.safetensors"))
    if loose:
        raise BadCheckpoint(
            f"{folder} has {len(loose)} safetensors ({loose[0]}, …) but no model.safetensors.index.json.",
            hint="Download the index, too: without it, missing files cannot be detected.",
        )
    pickles = sorted(entry.name for entry in folder.iterdir() if entry.suffix in _PICKLES)
    if pickles:
        raise BadCheckpoint(
            f"{folder} has its weights as pickle only ({pickles[0]}), which can run code when it is opened.",
            hint="Convert it where you trust it: save_pretrained writes safetensors, which are loaded.",
        )
    _refuse_gguf(folder)
    raise BadCheckpoint(
        f"{folder} has a config.json but no weights (model.safetensors, or an index and its shards).",
        hint=_AGAIN,
    )


def _refuse_gguf(folder: Path) -> None:
    ggufs = sorted(entry.name for entry in folder.glob("*.gguf"))
    if ggufs:
        raise BadCheckpoint(
            f"{folder} holds GGUF weights ({ggufs[0]}), which llama.cpp and Ollama run, not this package.",
            hint="Load the safetensors checkpoint of the same model: gl.catalog() lists their names.",
        )


def _weight_map(index: Path) -> dict[str, str]:
    content = _json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(file, str) for file in names.values()):
        raise BadCheckpoint(f"{index} has no weight_map from weights to files.", hint=_AGAIN)
    for file in set(names.values()):
        if PurePosixPath(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise BadCheckpoint(
                f"{index.name} points at {file!r}; a weight file must be a *.safetensors in the same folder.",
                hint="Do not load this checkpoint unless you know who wrote it.",
            )
    return names


def _agree(folder: Path, tensors: dict[str, Tensor]) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or (folder / "model.safetensors").exists():
        return
    for name, file in _weight_map(index).items():
        if name not in tensors or tensors[name].file.name != file:
            raise BadCheckpoint(f"{index.name} says that {name} is in {file}, but it is not.", hint=_AGAIN)


def read_header(file: Path) -> dict[str, Tensor]:
    """Read and check one header: 8 bytes of length, then JSON, then exactly the bytes it describes."""
    if not file.is_file():
        what = "is a broken link" if file.is_symlink() else "is missing"
        raise BadCheckpoint(f"{file.name} {what} in {file.parent}.", hint=_AGAIN)
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise BadCheckpoint(
                f"{file.name} is a Git LFS pointer of {size} bytes, not the weights.",
                hint="Run `git lfs pull` in that clone, or load the checkpoint by its hub id.",
            )
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= min(size - 8, _MAX_HEADER):
            raise _corrupt(file, f"its header would be {length:,} bytes in a file of {size:,}")
        text = stream.read(length)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _corrupt(file, f"its header is not JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _corrupt(file, "its header is not a JSON object")
    entries.pop("__metadata__", None)
    return _check_entries(file, entries, size - 8 - length)


def _check_entries(file: Path, entries: dict[str, Any], data_size: int) -> dict[str, Tensor]:
    tensors, spans = {}, []
    for name, entry in entries.items():
        try:
            dtype, shape = entry["dtype"], tuple(entry["shape"])
            begin, end = entry["data_offsets"]
            valid = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        except (TypeError, KeyError, ValueError) as error:
            raise _corrupt(file, f"the entry of {name!r} is malformed") from error
        if not valid or not isinstance(dtype, str) or dtype not in ITEM_BYTES:
            raise _corrupt(file, f"{name!r} has dtype {dtype!r}, shape {list(shape)}")
        if end - begin != prod(shape) * ITEM_BYTES[dtype]:
            raise _corrupt(file, f"{name!r} of shape {list(shape)} in {dtype} is not {end - begin:,} bytes")
        tensors[name] = Tensor(dtype, shape, file)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise _corrupt(file, f"its weights leave a gap or overlap at byte {begin:,}")
        position = end
    if position != data_size:
        state = "truncated" if position > data_size else "too long"
        raise _corrupt(file, f"it is {state}: the header describes {position:,} of {data_size:,} bytes")
    return tensors


def _corrupt(file: Path, why: str) -> BadCheckpoint:
    return BadCheckpoint(f"{file.name} in {file.parent} is corrupt: {why}.", hint=_AGAIN)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise BadCheckpoint(f"{file} cannot be read as JSON: {error}.", hint=_AGAIN) from error
