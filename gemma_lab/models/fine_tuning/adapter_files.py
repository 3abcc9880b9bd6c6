"""Adapters on disk: PEFT's two files, and one that says how the adapter was trained and for which base."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from ...checks import as_path
from ...errors import BadCheckpoint, LabError, NotAvailable
from .adapter_data import AdapterData
from .layouts import Layout, read_layout, to_packed, to_per_expert
from .peft_library import peft
from .settings import TrainingSettings
from .targets import targets_of_weights

_CONFIG, _WEIGHTS, _TRAINING = "adapter_config.json", "adapter_model.safetensors", "gemma_lab_adapter.json"
#: Settings of PEFT that change what the factors mean, with the values that are read here.
_PLAIN = {
    "use_dora": (False,), "bias": ("none",), "modules_to_save": (None, []), "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None), "fan_in_fan_out": (False,), "lora_bias": (False,),
    "trainable_token_indices": (None,), "layer_replication": (None,),
}  # fmt: skip


def write_adapter(adapter: AdapterData, folder: Path, layout: Layout) -> Path:
    """Write an adapter to an existing folder; `Adapter.save` documents the layouts."""
    from safetensors.torch import save_file

    if layout == "packed":
        tensors = to_packed(adapter.tensors)
    else:
        tensors = to_per_expert(adapter.tensors, adapter.shapes)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / _WEIGHTS, {"format": "pt"}
    )
    _write(folder / _CONFIG, _peft_config(adapter, layout))
    _write(
        folder / _TRAINING,
        {
            "name": adapter.name,
            "base": adapter.base,
            "base_digest": adapter.base_digest,
            "layout": layout,
            "settings": adapter.settings.to_dict() if adapter.settings else None,
            "losses": adapter.losses,
            "gradients": adapter.gradients,
            "kl_to_base": adapter.kl_to_base,
            "finished": adapter.finished,
        },
    )
    return folder


def read_adapter(model: torch.nn.Module, folder: str | Path, *, name: str | None = None) -> AdapterData:
    """Read an adapter for a model, of either layout, written here or by PEFT.

    Parameters
    ----------
    model
        The base model, without an attached adapter.
    folder
        With ``adapter_config.json`` and ``adapter_model.safetensors``.
    name
        Its name; by default that of its training, else of the folder.

    Raises
    ------
    NotAvailable
        If the folder has no adapter.
    BadCheckpoint
        If its files are damaged or of another method than LoRA, or its weights fit no weights of the model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = _folder(folder)
    config, rank, alpha = require_adapter(folder)
    try:
        written = load_file(folder / _WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{folder / _WEIGHTS} cannot be read: {error}", hint="Copy it again.") from error
    shapes = _weight_shapes(model)
    tensors, doubled = read_layout(written, shapes)
    rank, alpha = (2 * rank, 2 * alpha) if doubled else (rank, alpha)
    adapted = list(dict.fromkeys(key.rpartition(".")[0] for key in tensors))
    _check_shapes(tensors, adapted, shapes, rank)
    targets = targets_of_weights(model, adapted)
    training = _read(folder / _TRAINING) if (folder / _TRAINING).is_file() else {}
    settings = training.get("settings")
    return AdapterData(
        name=name or str(training.get("name") or folder.resolve().name),
        base=str(training.get("base") or config.get("base_model_name_or_path") or "an unknown model"),
        rank=rank,
        alpha=alpha,
        tensors={key: tensor.float() for key, tensor in tensors.items()},
        shapes=dict(targets.shapes),
        base_digest=training.get("base_digest"),
        settings=TrainingSettings.from_dict(settings) if settings else None,
        losses=list(training.get("losses", [])),
        gradients=dict(training.get("gradients", {})),
        kl_to_base=training.get("kl_to_base"),
        finished=bool(training.get("finished", True)),
    )


def _folder(folder: Any) -> Path:
    return as_path("adapter", folder, example='gl.load("mini-moe", adapter="my-adapter")')


def require_adapter(folder: str | Path) -> tuple[dict[str, Any], int, float]:
    """Return configuration, rank and alpha of an adapter, or raise before a model is loaded for it.

    Raises
    ------
    MissingExtra
        Without PEFT.
    NotAvailable, BadCheckpoint
        As `read_adapter` does, weights not included.
    """
    peft()
    folder = _folder(folder)
    if not (folder / _CONFIG).is_file() or not (folder / _WEIGHTS).is_file():
        raise NotAvailable(
            f"{folder} has no adapter: {_CONFIG} or {_WEIGHTS} is missing.",
            hint="Pass the folder that adapter.save(folder) or PEFT wrote.",
        )
    config = _read(folder / _CONFIG)
    return config, *_scale(config, folder)


def _peft_config(adapter: AdapterData, layout: Layout) -> dict[str, Any]:
    """Return ``adapter_config.json``: what PEFT needs to load the adapter, in its own terms."""
    fused = sorted({".".join(n.split(".")[-2:]) for n, shape in adapter.shapes.items() if len(shape) == 3})
    modules = [name for name, shape in adapter.shapes.items() if len(shape) == 2]
    config: dict[str, Any] = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": adapter.base,
        "r": adapter.rank, "lora_alpha": adapter.alpha, "lora_dropout": 0.0, "bias": "none",
        "fan_in_fan_out": False, "use_rslora": False, "use_dora": False, "inference_mode": True,
        "init_lora_weights": True, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
    }  # fmt: skip
    if layout == "packed":
        # gate_up_proj first, as in training: of two parameters, PEFT puts the layer of the second one outside
        return config | {"target_modules": modules, "target_parameters": fused[::-1] or None}
    leaves = {name.removesuffix(".linear").rpartition(".")[2] for name in modules}
    leaves |= {
        leaf
        for name in fused
        for leaf in (("gate_proj", "up_proj") if name.endswith("gate_up_proj") else ("down_proj",))
    }
    return config | {"target_modules": sorted(leaves), "target_parameters": None}


def _scale(config: dict[str, Any], folder: Path) -> tuple[int, float]:
    """Return rank and alpha of a LoRA configuration after checking that it is plain LoRA."""
    if config.get("peft_type") != "LORA":
        raise BadCheckpoint(
            f"The adapter in {folder} is of the method {config.get('peft_type')!r}.",
            hint="LoRA is read here.",
        )
    unusual = [key for key, plain in _PLAIN.items() if key in config and config[key] not in plain]
    if unusual:
        raise BadCheckpoint(
            f"The adapter in {folder} sets {', '.join(f'{key}={config[key]!r}' for key in unusual)}.",
            hint="Plain LoRA is read here; merge it with PEFT, and load the merged checkpoint.",
        )
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadCheckpoint(
            f"{folder / _CONFIG} has no valid r and lora_alpha.", hint="Save it again."
        ) from error
    if rank < 1 or not math.isfinite(alpha):
        raise BadCheckpoint(f"{folder / _CONFIG} has r={rank}, lora_alpha={alpha}.", hint="Save it again.")
    return rank, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _weight_shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of everything that an adapter can change."""
    shapes: dict[str, tuple[int, ...]] = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    return shapes | {name: tuple(p.shape) for name, p in model.named_parameters() if p.ndim == 3}


def _check_shapes(
    tensors: dict[str, torch.Tensor], adapted: list[str], shapes: dict[str, tuple[int, ...]], rank: int
) -> None:
    for name in adapted:
        *stack, outputs, inputs = shapes[name]
        width = rank * (stack[0] if stack else 1)
        found = tuple(tensors[f"{name}.lora_A"].shape), tuple(tensors[f"{name}.lora_B"].shape)
        if found != ((width, inputs), (outputs, width)):
            raise BadCheckpoint(
                f"The adapter has factors {found[0]} and {found[1]} of {name}; the model needs "
                f"{(width, inputs)} and {(outputs, width)}.",
                hint="The adapter belongs to another model.",
            )
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise BadCheckpoint("The adapter holds values that are not finite.", hint="Train it again.")
    if not adapted:
        raise LabError("The adapter holds no tensors.", hint="Save it again.")


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} cannot be read: {error}", hint="Copy it again.") from error
    if not isinstance(values, dict):
        raise BadCheckpoint(f"{path} is no JSON object.", hint="Copy it again.")
    return values
