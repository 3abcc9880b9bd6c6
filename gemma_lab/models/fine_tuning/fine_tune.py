"""`fine_tune`: train an adapter on examples; `Lab.fine_tune` calls it and documents the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...checks import short_repr
from ...errors import DoesNotFit, LabError
from ..chat.out_of_memory import raise_on_out_of_memory
from ..loading.restore import RestoreStack, restores_model
from .adapter import Adapter
from .adapters import adapters_of
from .base_identity import base_digest
from .change_check import compare_logits, probe_logits, warn_without_effect
from .checkpoint import TrainingCheckpoint, examples_digest
from .checkpointing import checkpointed
from .encoding import ExampleSet
from .lora_layers import LoraLayers
from .memory import require_memory, training_memory
from .peft_library import peft
from .progress import ProgressReport, TrainingProgress
from .settings import TrainingSettings, training_settings
from .targets import NEEDS, resolve_targets
from .trainer import Trainer

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from ..loading.restore import ModelLock
    from .targets import Targets

_PROBES = 8  # examples at which the adapter is compared with the base


@restores_model
def fine_tune(
    model: LoadedModel,
    examples: Iterable[Any],
    *,
    targets: Any = ("attention",),
    name: str = "adapter",
    rank: int = 8,
    alpha: float | None = None,
    learning_rate: float = 2e-4,
    steps: int | None = None,
    minutes: float | None = None,
    batch_size: int = 8,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    gradient_checkpointing: bool = False,
    on_progress: Callable[[TrainingProgress], Any] | None = None,
    progress: bool = True,
) -> Adapter:
    """Train an adapter and make it the active one; see `Lab.fine_tune`."""
    peft()
    adapters = adapters_of(model)
    adapters.refuse_while_training()
    name = adapters.free_name(name)
    with adapters.disabled():  # targets, digests and memory are those of the base model
        chosen = resolve_targets(model.model, targets, model_name=adapters.base)
        _require_trainable(model)
        data = ExampleSet(model, _listed(examples), progress=progress)
        settings = training_settings(
            chosen.names, examples=len(data), rank=rank, alpha=alpha, learning_rate=learning_rate,
            steps=steps, minutes=minutes, batch_size=batch_size, seed=seed,
            gradient_checkpointing=gradient_checkpointing,
        )  # fmt: skip
        _require_media(chosen, data)
        _require_memory(model, chosen, data, settings)
        digest = base_digest(model.model)
        saved = _checkpoint(checkpoint, settings, data, digest, resume=resume)
        state = None if saved is None else saved.load(resume=resume)
        adapter = _train(model, data, settings, chosen, (saved, state), digest, name, on_progress, progress)
    warn_without_effect(adapter)
    adapters.enable(adapter.name)
    return adapter


def _train(
    model: LoadedModel,
    data: ExampleSet,
    settings: TrainingSettings,
    targets: Targets,
    states: tuple[TrainingCheckpoint | None, dict[str, Any] | None],
    digest: str | None,
    name: str,
    on_progress: Callable[[TrainingProgress], Any] | None,
    shown: bool,
) -> Adapter:
    """Train new layers on the base model and add them to the lab's adapters, as far as they are trained."""
    adapters = adapters_of(model)
    checkpoint, state = states
    probes = tuple(data.first(_PROBES))
    with RestoreStack() as restore:
        restore.undo(_release, model.lock)
        model.lock.acquire()
        layers = LoraLayers(
            model.model, targets, rank=settings.rank, alpha=settings.alpha, seed=settings.seed
        )
        trainer = Trainer(model, layers, data, settings, checkpoint)
        if state is not None:
            trainer.restore(state)
        base = probe_logits(model, probes)
        restore.undo(layers.detach)
        layers.attach()
        restore.set_attribute(adapters, "training", True)
        restore.set_attribute(model, "name", f"{adapters.base}+{name}")
        restore.set_attribute(model, "adapter", {"name": name, "digest": "in training"})
        on_step = None if on_progress is None else _unlocked(model.lock, on_progress)
        deeper = checkpointed(model.model) if settings.gradient_checkpointing else nullcontext()
        finished = False
        try:
            with (
                torch.enable_grad(),
                layers.trainable(),
                deeper,
                raise_on_out_of_memory(model.device, lambda: f"in step {trainer.step:,} of a fine-tuning"),
            ):
                trainer.run(ProgressReport(adapters.base, shown=shown, callback=on_step))
            finished = True
            kl = compare_logits(base, probe_logits(model, probes))[0]
        finally:
            tensors = {
                key: value.detach().float().cpu().clone() for key, value in layers.parameters().items()
            }
            adapter = Adapter(
                name=name, base=adapters.base, rank=settings.rank, alpha=settings.alpha,
                tensors=tensors, shapes=dict(targets.shapes), base_digest=digest, settings=settings,
                losses=trainer.losses, gradients=trainer.gradients, kl_to_base=kl if finished else None,
                finished=finished, probes=probes,
            )  # fmt: skip
            if trainer.losses:
                adapters.add(adapter, layers)
                model.last_adapter = adapter
    return adapter


def _unlocked(
    lock: ModelLock, callback: Callable[[TrainingProgress], Any]
) -> Callable[[TrainingProgress], None]:
    """Return a callback during which the model is free, so that it can chat with the adapter in training."""

    def call(progress: TrainingProgress) -> None:
        lock.release()
        try:
            callback(progress)
        finally:
            lock.acquire()

    return call


def _release(lock: ModelLock) -> None:
    if lock.held_by_this_thread():
        lock.release()


def _listed(examples: Any) -> list[Any]:
    if isinstance(examples, str | bytes | Mapping) or not isinstance(examples, Iterable):
        raise LabError(
            f"examples is {short_repr(examples)}, not a list of examples.",
            hint='For example [("What is 7 + 5?", "12"), ("What is 2 + 2?", "4")].',
        )
    return list(examples)


def _require_trainable(model: LoadedModel) -> None:
    if any(parameter.device.type == "meta" for parameter in model.model.parameters()):
        raise DoesNotFit(
            f"Some weights of {model.name} are on disk (offload_folder); training needs all in memory.",
            hint="Load a smaller model, or on a device with more memory.",
        )


def _require_media(targets: Targets, data: ExampleSet) -> None:
    """Raise `LabError` if a tower is to be trained and no example reaches it."""
    for target, kinds in NEEDS.items():
        if target in targets.names and not data.kinds & set(kinds):
            raise LabError(
                f"No example has {' or '.join(kinds)}, so nothing of the target {target!r} would be trained.",
                hint=f"Add examples with them, or leave {target!r} out of targets.",
            )


def _require_memory(
    model: LoadedModel, targets: Targets, data: ExampleSet, settings: TrainingSettings
) -> None:
    """Raise `DoesNotFit` if the largest possible batch takes more memory than is free."""
    size = min(settings.batch_size, len(data))
    lengths = sorted((len(example.ids) for example in data.examples), reverse=True)[:size]
    answers = sorted((len(e.ids) - e.prompt_tokens for e in data.examples), reverse=True)[:size]
    patches = sum(
        sorted(
            (
                sum(v.shape[0] * v.shape[1] for k, v in e.inputs.items() if k.startswith("pixel_values"))
                for e in data.examples
            ),
            reverse=True,
        )[:size]
    )
    needed = training_memory(
        model.model, targets, settings, tokens=size * lengths[0], answer_tokens=sum(answers), patches=patches
    )
    require_memory(
        needed, device=model.device, name=model.name, checkpointing=settings.gradient_checkpointing
    )


def _checkpoint(
    folder: str | Path | None,
    settings: TrainingSettings,
    data: ExampleSet,
    digest: str | None,
    *,
    resume: bool,
) -> TrainingCheckpoint | None:
    if folder is None:
        if resume:
            raise LabError(
                "resume=True needs the folder of the run.", hint='Pass checkpoint="runs/roman" as well.'
            )
        return None
    return TrainingCheckpoint(folder, settings=settings, examples=examples_digest(data), base=digest)
