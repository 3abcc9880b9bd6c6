"""The plain values of an adapter: its tensors, their scale, and how they were trained."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .base_identity import tensors_digest
from .targets import TARGETS, target_of

if TYPE_CHECKING:
    import torch

    from .settings import TrainingSettings


@dataclass(eq=False)
class AdapterData:
    """A LoRA adapter of one base model, as values.

    Attributes
    ----------
    name
        Its name in ``lab.adapters``.
    base
        Name of the base model.
    rank, alpha
        The update of a weight is ``alpha / rank · B @ A``.
    tensors
        ``"<weight>.lora_A"`` and ``".lora_B"`` → factors, float32 on the CPU.
    shapes
        Adapted weight → its shape: ``(output, input)``, or ``(experts, output, input)``.
    base_digest
        Digest of the base model's norms; None if unknown.
    settings
        How it was trained; None if the file does not say.
    losses
        Loss of every step, nats per token.
    gradients
        Tensor → its largest gradient norm in training; empty if unknown.
    kl_to_base
        Mean KL divergence of base and adapter at the first training answers, nats per token; None if unknown.
    finished
        Whether the training reached its end.
    """

    name: str
    base: str
    rank: int
    alpha: float
    tensors: dict[str, torch.Tensor] = field(repr=False)
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    base_digest: str | None = None
    settings: TrainingSettings | None = None
    losses: list[float] = field(default_factory=list, repr=False)
    gradients: dict[str, float] = field(default_factory=dict, repr=False)
    kl_to_base: float | None = None
    finished: bool = True

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that it changes, e.g. ``("attention", "experts")``."""
        return tuple(self.weights_by_target())

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def digest(self) -> str:
        """Digest of its tensors and their scale."""
        return tensors_digest(self.tensors)[:24] + f"-{self.alpha / self.rank:g}"

    def weights_by_target(self) -> dict[str, int]:
        """Return how many weights of each target it changes."""
        counts = Counter(target_of(name) for name in self.shapes)
        return {target: counts[target] for target in (*TARGETS, "other") if target in counts}
