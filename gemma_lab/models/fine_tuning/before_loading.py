"""Memory of a fine-tuning before anything is loaded: the shapes of the model, without its weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import DoesNotFit
from ...system.hardware import amount, devices
from ..loading.checkpoint_files import read_config
from ..loading.meta_model import build_meta_model, meta_model
from ..loading.model_classes import require_gemma4
from ..loading.resolve import locate
from .memory import TrainingMemory, training_memory
from .settings import TrainingSettings
from .targets import resolve_targets

#: Characters per token of English, about; the examples are not tokenised yet.
_CHARACTERS_PER_TOKEN = 4


def model_without_weights(name: str | Path | None) -> Any:
    """Return the model of a name on the meta device; None for a hub id that is not in the catalog.

    The shape of such a model is known once it is downloaded.

    Parameters
    ----------
    name
        As `gemma_lab.load` takes it.

    Raises
    ------
    LabError
        If the model does not exist.
    """
    location = locate(name)
    if location.folder is not None:
        config = read_config(location.folder)
        class_name = require_gemma4(config, name=location.name, checkpoint=location.checkpoint)
        return build_meta_model(config, class_name, name=location.name)
    return None if location.checkpoint is None else meta_model(location.checkpoint.size)


def require_memory_before_loading(
    name: str | Path | None, settings: TrainingSettings, lengths: Sequence[int], *, value_bytes: int = 2
) -> TrainingMemory:
    """Estimate what a model and its training take, and refuse what cannot fit.

    Parameters
    ----------
    name
        As `gemma_lab.load` takes it.
    settings
        Targets, rank, batch size and gradient checkpointing.
    lengths
        Characters of each example.
    value_bytes
        Bytes of a number: 2 for bfloat16, the least that models are trained in.

    Returns
    -------
    TrainingMemory
        Beside the weights.

    Raises
    ------
    DoesNotFit
        If the largest free memory of a device is less than weights and training take; with the numbers.
    LabError
        If the model does not exist, or has nothing of a target.
    """
    model = model_without_weights(name)
    if model is None:
        return TrainingMemory(0, 0, 0, 0)
    title = locate(name).name
    targets = resolve_targets(model, settings.targets, model_name=title)
    size = min(settings.batch_size, len(lengths))
    longest = sorted(lengths, reverse=True)[:size]
    needed = training_memory(
        model,
        targets,
        settings,
        tokens=size * max(longest, default=0) // _CHARACTERS_PER_TOKEN,
        answer_tokens=sum(longest) // (2 * _CHARACTERS_PER_TOKEN),
        value_bytes=value_bytes,
    )
    weights = value_bytes * _parameters(model)
    place = max(devices(), key=lambda device: device.free)
    if weights + needed.total > place.free:
        raise DoesNotFit(
            f"{title} takes {amount(weights)} in 16 bits, and training it about {needed}. "
            f"{amount(place.free)} are free on {place.label}. Nothing was loaded.",
            hint="Choose a smaller model, fewer targets or a smaller batch; --gradient-checkpointing saves "
            "activations.",
        )
    return needed


def _parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
