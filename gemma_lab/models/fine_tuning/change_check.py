"""Check that an adapter changes its model, and that attached, merged and reloaded it changes it equally.

A training that silently trains nothing, and a server that silently ignores an adapter, are the commonest
complaints about fine-tuning (vLLM issue 41754, transformers issue 45242).
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...display import Displayed
from ...errors import LabError
from ...system.hardware import amount
from ..loading.restore import RestoreStack
from .adapter_files import read_adapter, write_adapter
from .batches import make_batch, padding_id
from .layouts import LAYOUTS
from .loss import answer_logits
from .memory import device_memory

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .adapter_data import AdapterData
    from .encoding import EncodedExample
    from .lora_layers import LoraLayers

#: Largest allowed difference of logits in float32, where every form computes the same sums in another order.
TOLERANCE = 1e-3
#: In 16 bits a merged weight is rounded: allowed is this part of what the adapter itself changes.
RELATIVE_TOLERANCE = 0.25
#: KL divergence that rounding alone can give, nats per token.
ROUNDING = 1e-8


class AdapterWarning(UserWarning):
    """An adapter that changes less than it should."""


@dataclass(frozen=True)
class AdapterCheck(Displayed):
    """What an adapter changes, and whether all its forms agree.

    Attributes
    ----------
    name, base
        The adapter and its base model.
    tensors
        Number of its tensors.
    without_gradient
        Tensors whose gradient was zero in every step of the training; None if it is not known.
    kl
        Mean KL divergence of base and adapter, nats per answer token.
    top1
        Fraction of answer tokens with the same likeliest token in base and adapter.
    change
        Largest difference of a logit between base and adapter.
    differences
        Form (``"merged"``, ``"reloaded, packed"``, ``"reloaded, per expert"``) → largest difference of a
        logit from the attached adapter.
    tolerance
        Largest difference that passes.
    not_compared
        Form → why it was not compared.
    """

    name: str
    base: str
    tensors: int
    without_gradient: tuple[str, ...] | None
    kl: float
    top1: float
    change: float
    differences: dict[str, float]
    tolerance: float
    not_compared: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each."""
        found = []
        if self.without_gradient:
            found.append(
                f"{len(self.without_gradient)} of {self.tensors} tensors had no gradient in training, e.g. "
                f"{self.without_gradient[0]}."
            )
        if not self.kl > ROUNDING:
            found.append(f"The adapter changes nothing: its KL divergence to the base is {self.kl:.1g} nats.")
        found += [
            f"The {form} adapter differs by {difference:.3g} in a logit; {self.tolerance:.3g} is allowed."
            for form, difference in self.differences.items()
            if not difference <= self.tolerance
        ]
        return found

    @property
    def passed(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __repr__(self) -> str:
        forms = ", ".join(f"{form} {difference:.2g}" for form, difference in self.differences.items())
        verdict = "passed" if self.passed else f"{len(self.problems)} problems"
        return (
            f"AdapterCheck({self.name}: {verdict}; KL to the base {self.kl:.3g} nats per token, same top "
            f"token {self.top1:.0%}; largest difference of a logit: base {self.change:.2g}, {forms}; "
            f"at most {self.tolerance:.2g})"
        )


def check_adapter(
    model: LoadedModel,
    adapter: AdapterData,
    layers: LoraLayers,
    again: Callable[[AdapterData], LoraLayers],
    probes: Sequence[EncodedExample],
    *,
    merged: bool | None = None,
) -> AdapterCheck:
    """Compare an adapter's forms; see `Adapter.check`.

    Parameters
    ----------
    model
        The base model, held by the caller, without an attached adapter.
    adapter, layers
        The adapter and its detached layers.
    again
        Returns new layers of an adapter.
    probes
        Where to compare.
    merged
        Whether the merged form is compared; None if memory allows.
    """
    differences, not_compared = {}, {}
    base = probe_logits(model, probes)
    with _attached(layers):
        own = probe_logits(model, probes)
    kl, top1, change = compare_logits(base, own)
    reason = _not_merged(model, layers, merged)
    if reason:
        not_compared["merged"] = reason
    else:
        with _merged(layers):
            differences["merged"] = _largest(own, probe_logits(model, probes))
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            reloaded = read_adapter(model.model, write_adapter(adapter, Path(folder), layout))
        with _attached(again(reloaded)):
            differences[f"reloaded, {layout}"] = _largest(own, probe_logits(model, probes))
    exact = model.dtype == torch.float32
    unmoved = [name for name in adapter.tensors if not adapter.gradients.get(name, 0.0) > 0]
    return AdapterCheck(
        name=adapter.name,
        base=adapter.base,
        tensors=len(adapter.tensors),
        without_gradient=tuple(unmoved) if adapter.gradients else None,
        kl=kl,
        top1=top1,
        change=change,
        differences=differences,
        tolerance=TOLERANCE if exact else RELATIVE_TOLERANCE * change,
        not_compared=not_compared,
    )


def _not_merged(model: LoadedModel, layers: LoraLayers, wanted: bool | None) -> str:
    """Return why the merged form is not compared, or ``""``."""
    if wanted is False:
        return "as asked"
    try:
        weights = sum(weight.nbytes for weight, _ in layers.deltas())
    except LabError as error:
        return error.what
    free = device_memory(model.device).free
    return f"it takes a copy of {amount(weights)}" if wanted is None and 2 * weights > free else ""


@torch.no_grad()
def probe_logits(model: LoadedModel, examples: Iterable[EncodedExample]) -> torch.Tensor:
    """Return the logits of the answers' tokens, one example after the other, float32 on the CPU."""
    padding = padding_id(model)
    return torch.cat(
        [
            answer_logits(model.model, make_batch([one], padding=padding).to(model.device, model.dtype))[
                0
            ].cpu()
            for one in examples
        ]
    )


def compare_logits(base: torch.Tensor, own: torch.Tensor) -> tuple[float, float, float]:
    """Return mean KL divergence in nats, share of equal top tokens, and the largest difference of a logit."""
    before, after = base.double().log_softmax(-1), own.double().log_softmax(-1)
    kl = (before.exp() * (before - after)).sum(-1).mean().clamp_min(0)
    same = (base.argmax(-1) == own.argmax(-1)).float().mean()
    return float(kl), float(same), _largest(base, own)


def warn_without_effect(adapter: AdapterData) -> None:
    """Warn about a trained adapter with tensors that had no gradient, or without any effect."""
    unmoved = [name for name, norm in adapter.gradients.items() if not norm > 0]
    # the first factor has none in the first step, because the second one is still zero
    if unmoved and len(adapter.losses) > 1:
        warnings.warn(
            f"{len(unmoved)} of {len(adapter.tensors)} tensors of the adapter {adapter.name} had no "
            f"gradient in training, e.g. {unmoved[0]}: the examples do not use them.",
            AdapterWarning,
            stacklevel=4,
        )
    if adapter.kl_to_base is not None and not adapter.kl_to_base > ROUNDING:
        warnings.warn(
            f"The adapter {adapter.name} changes nothing at its own examples: its KL divergence to "
            f"{adapter.base} is {adapter.kl_to_base:.1g} nats. Raise learning_rate or the number of steps.",
            AdapterWarning,
            stacklevel=4,
        )


class _attached:  # noqa: N801 — a context manager, named as contextlib's are
    """Attach layers within a block; the model is the base model before and after."""

    def __init__(self, layers: Any) -> None:
        self._layers, self._restore = layers, RestoreStack()

    def __enter__(self) -> None:
        self._restore.__enter__()
        self._restore.undo(self._layers.detach)
        self._layers.attach()

    def __exit__(self, *_: object) -> None:
        self._restore.close()


class _merged(_attached):  # noqa: N801
    """Add the updates to the weights within a block, and put copies of the weights back."""

    @torch.no_grad()
    def __enter__(self) -> None:
        self._restore.__enter__()
        for weight, update in self._layers.deltas():
            self._restore.undo(_copy_back, weight, weight.detach().clone())
            weight.copy_((weight.float() + update).to(weight.dtype))


@torch.no_grad()
def _copy_back(weight: torch.Tensor, values: torch.Tensor) -> None:
    weight.copy_(values)


def _largest(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())
