"""Checkpoints whose weights are packed already: which are read, what they become, which are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import BadCheckpoint
from .methods import require_package

if TYPE_CHECKING:
    from .methods import LoadMethod


@dataclass(frozen=True)
class CheckpointFormat:
    """A way to pack a checkpoint's weights that transformers reads for Gemma 4.

    Attributes
    ----------
    name
        ``quant_method`` in ``config.json``.
    package, minimum
        The library that it needs and its oldest release; ``""`` for none.
    dequantizes
        Whether the weights become 16- or 32-bit numbers when they are loaded or first used, so that the
        memory of an unpacked model is needed.
    """

    name: str
    package: str = ""
    minimum: str = ""
    dequantizes: bool = False


_READ = {
    "gemma": CheckpointFormat("gemma"),
    "bitsandbytes": CheckpointFormat("bitsandbytes", "bitsandbytes", "0.46.1"),
    "compressed-tensors": CheckpointFormat(
        "compressed-tensors", "compressed-tensors", "0.15", dequantizes=True
    ),
}
_GRID = 'An "-unquantized" QAT checkpoint with quantization="int4" holds the same weights in 4.5 bits.'
_OTHERWISE = 'Load the bfloat16 checkpoint of the same size with quantization="{}", which has as many bits.'
_REFUSED = {
    "gguf": (
        "GGUF weights, which transformers turns into 16 bits for Gemma 4 and reads without towers",
        "llama.cpp and Ollama run them as they are. " + _GRID,
    ),
    "fp8": ("FP8 weights, whose kernels need a GPU and are not tested here", _OTHERWISE.format("int8")),
    "nvfp4": ("NVFP4 weights, which vLLM reads", _OTHERWISE.format("int4")),
    "mxfp4": ("MXFP4 weights, which transformers reads for GPT-OSS only", _OTHERWISE.format("int4")),
    "hqq": ("HQQ weights, which transformers 5 does not load", _OTHERWISE.format("int4")),
}


def checkpoint_format(config: Mapping[str, Any]) -> CheckpointFormat | None:
    """Return how a checkpoint's weights are packed, from its ``config.json``; None if they are not.

    `require_format` must have accepted it.
    """
    settings = config.get("quantization_config")
    if not settings:
        return None
    return _READ[str(settings.get("quant_method"))]


def require_format(kind: str, *, name: str, method: LoadMethod | None = None) -> None:
    """Raise unless transformers reads weights that are packed in a way.

    Parameters
    ----------
    kind
        ``quant_method`` of the checkpoint, or its format in the catalog.
    name
        The model's name in the errors.
    method
        What `gemma_lab.load` was asked to do with the weights; they cannot be packed twice.

    Raises
    ------
    BadCheckpoint
        If they are not read, or are to be packed again.
    MissingExtra, TooOld
        If the library for it is missing or too old.
    """
    if kind not in _READ:
        what, hint = _REFUSED.get(
            kind, (f"weights packed with {kind}", "Load the bfloat16 checkpoint of the same size.")
        )
        raise BadCheckpoint(f"{name} has {what}; they are not loaded here.", hint=hint)
    if method is not None:
        raise BadCheckpoint(
            f"{name} is packed already ({kind}): quantization={method.name!r} packs 16-bit weights.",
            hint="Leave quantization out, or load the bfloat16 or the '-unquantized' checkpoint of its size.",
        )
    found = _READ[kind]
    if found.package:
        require_package(found.package, found.minimum, "quantization", what=f"{name} ({kind})")
