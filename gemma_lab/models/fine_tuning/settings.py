"""What determines a training run, as a value."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ...checks import real_number, whole_number
from ...errors import LabError

#: Passes over the examples when neither steps nor minutes are passed.
_EPOCHS = 3
_WARM_UP = 0.05  # fraction of the run in which the learning rate rises
_FLOOR = 0.1  # fraction of it at the end of the cosine that follows


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of a run; `Lab.fine_tune` documents them.

    Attributes
    ----------
    targets
        Names of targets, in order.
    rank, alpha
        The update of a weight is ``alpha / rank · B @ A``.
    learning_rate
        Its maximum.
    steps
        Number of updates; None if `minutes` ends the run.
    minutes
        Minutes of training; None if `steps` ends it.
    batch_size
        Examples per update.
    seed
        Of the adapter's first factor and of the order of the examples.
    gradient_checkpointing
        Whether layers are computed again for the gradients instead of being kept.
    """

    targets: tuple[str, ...]
    rank: int
    alpha: float
    learning_rate: float
    steps: int | None
    minutes: float | None
    batch_size: int
    seed: int
    gradient_checkpointing: bool

    def rate(self, progress: float) -> float:
        """Return the learning rate at a fraction of the run, 0 to 1: a linear rise, then half a cosine."""
        if progress < _WARM_UP:
            return self.learning_rate * (progress / _WARM_UP)
        late = min(1.0, (progress - _WARM_UP) / (1 - _WARM_UP))
        return self.learning_rate * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * late)))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {**asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingSettings:
        """Return the settings that `to_dict` wrote."""
        return cls(**{**values, "targets": tuple(values["targets"])})


def training_settings(
    targets: tuple[str, ...],
    *,
    examples: int,
    rank: Any,
    alpha: Any,
    learning_rate: Any,
    steps: Any,
    minutes: Any,
    batch_size: Any,
    seed: Any,
    gradient_checkpointing: Any,
) -> TrainingSettings:
    """Return checked settings.

    Raises
    ------
    LabError
        If a value is of the wrong type or out of range, or both `steps` and `minutes` are passed.
    """
    if steps is not None and minutes is not None:
        raise LabError(
            f"steps={steps!r} and minutes={minutes!r} would both end the training.", hint="Pass one of them."
        )
    if not isinstance(gradient_checkpointing, bool):
        raise LabError(
            f"gradient_checkpointing={gradient_checkpointing!r} is not a bool.", hint="True or False."
        )
    size = whole_number("batch_size", batch_size, minimum=1)
    count = None if steps is None else whole_number("steps", steps, minimum=1)
    if steps is None and minutes is None:
        count = math.ceil(_EPOCHS * examples / size)
    rank = whole_number("rank", rank, minimum=1, maximum=4096)
    return TrainingSettings(
        targets=targets,
        rank=rank,
        alpha=2.0 * rank if alpha is None else real_number("alpha", alpha, minimum=1e-6, maximum=1e6),
        learning_rate=real_number(
            "learning_rate", learning_rate, minimum=1e-9, maximum=1.0, hint="For example learning_rate=2e-4."
        ),
        steps=count,
        minutes=None
        if minutes is None
        else real_number("minutes", minutes, minimum=1e-3, maximum=1e6, hint="For example minutes=30."),
        batch_size=size,
        seed=whole_number("seed", seed, minimum=0, maximum=2**63 - 1),
        gradient_checkpointing=gradient_checkpointing,
    )
