"""The training loop: batches, AdamW, the gradients of every tensor, and states to resume from."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch

from ...errors import LabError
from .batches import batch_indices, make_batch, padding_id
from .loss import answer_loss
from .progress import TrainingProgress

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .checkpoint import TrainingCheckpoint
    from .encoding import ExampleSet
    from .lora_layers import LoraLayers
    from .progress import ProgressReport
    from .settings import TrainingSettings

_CLIP = 1.0  # largest norm of the gradient of all tensors
_SAVE_EVERY = 60.0  # seconds


class Trainer:
    """Trains attached LoRA layers.

    Parameters
    ----------
    model
        The loaded model, held by the caller.
    layers
        Attached, with gradients (`LoraLayers.trainable`).
    examples
        What is learned.
    settings
        How.
    checkpoint
        Where states are saved; None for nowhere.

    Attributes
    ----------
    step : int
        Number of steps so far.
    losses : list of float
        Of every step, nats per token.
    """

    def __init__(
        self,
        model: LoadedModel,
        layers: LoraLayers,
        examples: ExampleSet,
        settings: TrainingSettings,
        checkpoint: TrainingCheckpoint | None = None,
    ) -> None:
        self._model, self._layers, self._examples = model, layers, examples
        self._settings, self._checkpoint = settings, checkpoint
        factors = layers.parameters()
        self._names, self._factors = list(factors), list(factors.values())
        self._optimizer = torch.optim.AdamW(self._factors, lr=settings.learning_rate, weight_decay=0.0)
        self._largest = torch.zeros(len(self._factors))
        self._padding = padding_id(model)
        self.step, self.losses = 0, []  # type: int, list[float]
        self._tokens, self._seconds = 0, 0.0
        self._whole = True  # False while a step is being applied

    @property
    def fraction(self) -> float:
        """Part of the run that is done, 0 to 1."""
        if self._settings.steps is not None:
            return min(1.0, self.step / self._settings.steps)
        return min(1.0, self._seconds / (60 * (self._settings.minutes or 1)))

    @property
    def gradients(self) -> dict[str, float]:
        """Largest gradient norm of every tensor so far."""
        return dict(zip(self._names, self._largest.tolist(), strict=True))

    def run(self, report: ProgressReport) -> None:
        """Train to the end.

        An interrupt or an error saves the state after the last step; one that comes while the optimiser
        changes the tensors leaves the state that was saved before.
        """
        saved = time.monotonic()
        try:
            while self.fraction < 1:
                report.step(self.train_step(), self.losses)
                if self._checkpoint is not None and time.monotonic() - saved > _SAVE_EVERY:
                    self.save()
                    saved = time.monotonic()
        finally:
            self.save()
            report.close(self.losses, self.fraction)

    def save(self) -> None:
        """Save the state, if there is a folder for it."""
        if self._checkpoint is None or not self.losses or not self._whole:
            return
        self._checkpoint.save(
            {
                "step": self.step,
                "losses": self.losses,
                "tokens": self._tokens,
                "seconds": self._seconds,
                "tensors": {name: value.detach().cpu() for name, value in self._layers.parameters().items()},
                "gradients": self._largest,
                "optimizer": self._optimizer.state_dict(),
            }
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._layers.load(state["tensors"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._largest = state["gradients"]
        self.step, self.losses = int(state["step"]), list(state["losses"])
        self._tokens, self._seconds = int(state["tokens"]), float(state["seconds"])

    def train_step(self) -> TrainingProgress:
        """Make one update, and return the state after it."""
        started = time.perf_counter()
        settings = self._settings
        chosen = batch_indices(
            self.step, size=settings.batch_size, count=len(self._examples), seed=settings.seed
        )
        batch = make_batch([self._examples.get(index) for index in chosen], padding=self._padding)
        tokens = int(batch.inputs["attention_mask"].sum())
        batch = batch.to(self._model.device, self._model.dtype)
        loss = answer_loss(self._model.model, batch)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        value = float(loss.detach())
        largest = self._clip()
        if not (math.isfinite(value) and bool(torch.isfinite(largest).all())):
            raise LabError(
                f"The loss or a gradient is not finite at step {self.step}: loss {value}.",
                hint="Lower learning_rate; on a GPU load the model in bfloat16 or float32.",
            )
        rate = settings.rate(self._progress_of_next())
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._whole = False
        self._optimizer.step()
        self._largest = torch.maximum(self._largest, largest)
        self.step += 1
        self.losses.append(value)
        self._tokens += tokens
        self._seconds += time.perf_counter() - started
        self._whole = True
        return TrainingProgress(
            self.step, settings.steps, self.fraction, value, rate, self._tokens, self._seconds
        )

    def _progress_of_next(self) -> float:
        """Return the part of the run that the present step completes, for the learning rate."""
        if self._settings.steps is not None:
            return (self.step + 1) / self._settings.steps
        return max(self.fraction, 1e-3)

    def _clip(self) -> torch.Tensor:
        """Clip the gradient, and return the norm of every tensor's before, on the CPU; 0 without one."""
        gradients = [factor.grad for factor in self._factors if factor.grad is not None]
        norms = torch.zeros(len(self._factors))
        if not gradients:
            return norms
        found = torch._foreach_norm(gradients)  # noqa: SLF001 — as torch's own clipping does
        one = len({norm.device for norm in found}) == 1
        on_cpu = torch.stack(found).cpu() if one else torch.stack([norm.cpu() for norm in found])
        norms[[index for index, factor in enumerate(self._factors) if factor.grad is not None]] = on_cpu
        total = float(on_cpu.norm())
        if total > _CLIP:
            torch._foreach_mul_(gradients, _CLIP / (total + 1e-6))
        return norms
