"""The class of transformers for a checkpoint, or the reason why it cannot be loaded."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from ...errors import MissingExtra, NotGemma4, TooOld
from ..quantization.checkpoint_formats import require_format

if TYPE_CHECKING:
    from ...family.catalog import Checkpoint
    from ..quantization.methods import LoadMethod

#: model_type of config.json -> class in transformers
CLASSES = {
    "gemma4": "Gemma4ForConditionalGeneration",
    "gemma4_text": "Gemma4ForCausalLM",
    "gemma4_unified": "Gemma4UnifiedForConditionalGeneration",
    "gemma4_unified_text": "Gemma4UnifiedForCausalLM",
}
_DRAFTER = (
    "a drafter: it drafts tokens for a larger Gemma 4 (speculative decoding) and does not chat by itself",
    "Load the model it drafts for: its name without '-assistant'.",
)
_OTHERS = {
    "gemma4_assistant": _DRAFTER,
    "gemma4_unified_assistant": _DRAFTER,
    "diffusion_gemma": (
        "DiffusionGemma: it denoises blocks of text instead of generating token by token",
        "Load gemma-4-26B-A4B-it, which has the same backbone.",
    ),
    "embedding_gemma2": (
        "EmbeddingGemma 2: it embeds text, images and sound for search and generates no text",
        "Use it with sentence-transformers; to chat, load a Gemma 4.",
    ),
}
#: first transformers release in which the class gives right results (reference: its own release wheels)
_SINCE = {"gemma4": "5.15", "gemma4_text": "5.15", "gemma4_unified": "5.15", "gemma4_unified_text": "5.15"}


def require_loadable(checkpoint: Checkpoint, method: LoadMethod | None = None) -> None:
    """Raise if an entry of the catalog cannot be loaded here, before anything is downloaded.

    Parameters
    ----------
    checkpoint
        The entry.
    method
        How its weights are to be packed while they are read; None for as they are.

    Raises
    ------
    NotGemma4
        For a drafter.
    BadCheckpoint
        For packed weights that transformers does not read, or that are to be packed again.
    """
    if checkpoint.model_type in _OTHERS:
        what, hint = _OTHERS[checkpoint.model_type]
        raise NotGemma4(f"{checkpoint.alias} is {what}.", hint=hint)
    if checkpoint.format != "safetensors":
        require_format(checkpoint.format, name=checkpoint.alias, method=method)


def require_gemma4(
    config: dict[str, Any],
    *,
    name: str,
    checkpoint: Checkpoint | None = None,
    method: LoadMethod | None = None,
) -> str:
    """Return the name of the transformers class for a configuration.

    Parameters
    ----------
    config
        The checkpoint's ``config.json``.
    name
        The name that the user passed, for errors.
    checkpoint
        Its entry in the catalog, which may need a newer transformers.
    method
        How its weights are to be packed while they are read; None for as they are.

    Raises
    ------
    NotGemma4
        If it is of another architecture, or a relative of Gemma 4 that does not chat.
    BadCheckpoint
        If its weights are packed in a way that transformers does not read, or are to be packed again.
    TooOld
        If the installed transformers is too old for it.
    MissingExtra
        If it takes images and torchvision is not installed.
    """
    kind = config.get("model_type")
    if kind in _OTHERS:
        what, hint = _OTHERS[kind]
        raise NotGemma4(f"{name} is {what}.", hint=hint)
    if kind not in CLASSES:
        names = config.get("architectures")
        classes = f" ({', '.join(map(str, names))})" if isinstance(names, list) and names else ""
        raise NotGemma4(
            f"{name} is not a Gemma 4 checkpoint: its architecture is {kind!r}{classes}.",
            hint="gemma_lab looks inside Gemma 4 only; gl.catalog() lists what it loads.",
        )
    if config.get("quantization_config"):
        settings = config["quantization_config"]
        packing = settings.get("quant_method", "unknown") if isinstance(settings, dict) else "unknown"
        require_format(str(packing), name=name, method=method)
    require_transformers(checkpoint.min_transformers if checkpoint else _SINCE[kind], name=name)
    if config.get("vision_config") and importlib.util.find_spec("torchvision") is None:
        raise MissingExtra(
            f"{name} takes images, and its image processor needs torchvision, which is not installed.",
            hint="pip install torchvision (the release that goes with your torch).",
        )
    return CLASSES[kind]


def require_transformers(needed: str, *, name: str) -> None:
    """Raise `TooOld` unless transformers is installed in release `needed` or newer."""
    import transformers
    from packaging.version import Version

    if Version(Version(transformers.__version__).base_version) < Version(needed):
        raise TooOld(
            f"{name} needs transformers {needed} or newer; {transformers.__version__} is installed.",
            hint=f'pip install --upgrade "transformers>={needed}", then restart the kernel.',
        )
