"""Fit a Jacobian lens: one forward pass per text, and one backward pass per block of final coordinates.

A text is read in several copies, one sequence each. The gradient of copy c starts from final coordinate c at
every position of V at once, so one backward pass yields the rows of every layer's Jacobian for a block of
coordinates: ``ceil(width / copies)`` backward passes per text for all layers together, exact up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...checks import short_repr, whole_number
from ...errors import BadLens, DoesNotFit, LabError
from ...models.chat.out_of_memory import raise_on_out_of_memory
from ...models.fine_tuning.encoding import ExampleSet
from ...models.fine_tuning.memory import activation_bytes, device_memory
from ...models.loading.restore import RestoreStack, restores_model
from ...models.loading.weights_digest import weights_digest
from ...system.hardware import amount, free_ram
from ..probes.model_modules import decoder_of, layers_of
from .fit_state import FitState
from .jacobian_lens import JacobianLens, as_half

if TYPE_CHECKING:
    from ...models.loading.loaded_model import LoadedModel

#: Most copies of a text that are read together by default.
_COPIES = 64
#: Share of the free memory that a fit takes by default.
_SHARE = 0.5
#: Fewest positions of a text, beside those that are skipped.
_FEWEST = 2


@dataclass(frozen=True)
class LensCost:
    """What fitting a Jacobian lens takes beside the model's weights.

    Attributes
    ----------
    layers, width
        Of the model.
    copies
        Copies of a text that are read together.
    passes
        Backward passes per text.
    activations
        Bytes that autograd keeps, on the model's device.
    sums
        Bytes of the sums of all layers, float32; three times that is needed in main memory.
    file
        Bytes of the lens in float16.
    """

    layers: int
    width: int
    copies: int
    passes: int
    activations: int
    sums: int
    file: int

    def __str__(self) -> str:
        return (
            f"{self.layers} layers × {self.width:,}²: {self.passes:,} backward passes of {self.copies} "
            f"copies a text; {amount(self.activations)} of activations on the device, "
            f"{amount(3 * self.sums)} of main memory, a file of {amount(self.file)}"
        )


def lens_cost(
    model: torch.nn.Module, *, max_tokens: int = 128, copies: int | None = None, free: int | None = None
) -> LensCost:
    """Return what fitting a Jacobian lens takes; a model on the meta device will do.

    Parameters
    ----------
    model
        A model of transformers, e.g. ``gl.meta_model("E2B")``.
    max_tokens
        Length of the longest text.
    copies
        Copies of a text that are read together. Default: as many as half of `free` holds, at most 64.
    free
        Free bytes on the model's device.

    Raises
    ------
    LabError
        If it is no model, or a number is out of range.
    """
    config: Any = getattr(model, "config", None)
    if config is None:
        raise LabError(f"{short_repr(model)} is no model.", hint='Pass lab.model, or gl.meta_model("E2B").')
    text = config.get_text_config()
    max_tokens = whole_number("max_tokens", max_tokens, minimum=2)
    width, layers = int(text.hidden_size), int(text.num_hidden_layers)
    each = max_tokens * (activation_bytes(model) + 4 * width * (layers + 4))  # gradients of all outputs, too
    if copies is None:
        room = _COPIES if free is None else int(_SHARE * free // each)
        copies = max(1, min(width, _COPIES, room))
    copies = whole_number("copies", copies, minimum=1, maximum=width)
    return LensCost(
        layers, width, copies, math.ceil(width / copies), copies * each,
        sums=4 * layers * width**2, file=2 * layers * width**2,
    )  # fmt: skip


@restores_model
def fit_jacobian_lens(
    model: LoadedModel,
    texts: Sequence[Any],
    *,
    corpus: str,
    max_tokens: int = 128,
    skip: int = 4,
    copies: int | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    on_text: Callable[[int, int], Any] | None = None,
    progress: bool = True,
) -> JacobianLens:
    """Fit the Jacobian lens of a model on texts; see `Lab.fit_lens`."""
    max_tokens = whole_number("max_tokens", max_tokens, minimum=2)
    skip = whole_number("skip", skip, minimum=0)
    if not isinstance(corpus, str):
        raise LabError(f"corpus is {short_repr(corpus)}.", hint='Describe the texts: corpus="my diary".')
    _refuse_adapter(model)
    usable = _usable(model, texts, max_tokens=max_tokens, skip=skip)
    longest = max(map(len, usable))
    free = device_memory(model.device).free
    width = int(model.text_config.hidden_size)
    cost = lens_cost(model.model, max_tokens=longest, copies=copies, free=free)
    _require_memory(model, cost, free)
    digests = weights_digest(model.model)
    state = FitState(
        checkpoint, layers=cost.layers, width=width,
        run={"weights": digests, "texts": usable, "skip": skip},
    )  # fmt: skip
    state.load(resume=resume)
    with RestoreStack() as restore:
        restore.hold(model.lock)
        _freeze(model.model, restore)
        restore.undo(state.save)
        for number in _progress(
            range(state.done, len(usable)), state.done, len(usable), model.name, progress
        ):
            state.add(_jacobians(model, usable[number], copies=cost.copies, skip=skip))
            if on_text is not None:
                on_text(number + 1, len(usable))
    jacobians = as_half((state.sums / len(usable)).astype(np.float32))
    jacobians[-1] = np.eye(width, dtype=jacobians.dtype)  # exact already; a sum of 1/n need not be
    return JacobianLens(
        model=model.name, weights=digests, layers=tuple(range(cost.layers)), jacobians=jacobians,
        corpus=corpus, texts=len(usable), tokens=sum(len(ids) - skip - 1 for ids in usable), skip=skip,
        max_tokens=max_tokens, date=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip


def text_jacobians(model: torch.nn.Module, ids: Sequence[int], *, copies: int, skip: int) -> torch.Tensor:
    """Return the Jacobians of one text, float32 ``[layers, width, width]`` on the CPU.

    Parameters
    ----------
    model
        A model of transformers whose weights are frozen.
    ids
        The text.
    copies
        Copies that are read together.
    skip
        Positions left out at the start; the last one is left out, too.

    Raises
    ------
    LabError
        If the model passes no gradients, as some quantised ones do not.
    """
    with _outputs_of(model) as outputs, torch.enable_grad():
        decoder: Any = decoder_of(model)
        device = decoder.embed_tokens.weight.device
        read = torch.tensor([list(ids)], device=device).expand(copies, -1)
        decoder(input_ids=read, use_cache=False)
        return _rows(outputs, copies=copies, valid=slice(skip, len(ids) - 1))


def _rows(outputs: list[torch.Tensor], *, copies: int, valid: slice) -> torch.Tensor:
    """Run the backward passes; `outputs` are those of the layers, ``[copies, tokens, width]`` each."""
    final, width = outputs[-1], outputs[-1].shape[-1]
    found = torch.empty((len(outputs), width, width))
    found[-1] = torch.eye(width)
    if len(outputs) == 1:
        return found
    if not final.requires_grad:
        raise LabError(
            "The model passes no gradients from its last layer to its first.",
            hint="Load it without quantisation to fit a lens.",
        )
    for first in range(0, width, copies):
        block = torch.arange(first, min(first + copies, width), device=final.device)
        start = torch.zeros_like(final)
        start[torch.arange(len(block), device=final.device), valid, block] = 1
        gradients = torch.autograd.grad(final, outputs[:-1], start, retain_graph=first + copies < width)
        for layer, gradient in enumerate(gradients):
            found[layer, first : first + len(block)] = gradient[: len(block), valid].float().mean(dim=1)
    return found


@contextmanager
def _outputs_of(model: torch.nn.Module) -> Iterator[list[torch.Tensor]]:
    """Keep what every layer returns, in a graph that begins at the output of the first one."""
    outputs: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if outputs:
            outputs.append(hidden)
            return None
        outputs.append(hidden.detach().requires_grad_())
        return (outputs[0], *output[1:]) if isinstance(output, tuple) else outputs[0]

    with RestoreStack() as restore:
        for layer in layers_of(model):
            restore.hook(layer, keep)
        yield outputs
        outputs.clear()


def _jacobians(model: LoadedModel, ids: Sequence[int], *, copies: int, skip: int) -> Any:
    note = f"with {copies} copies of {len(ids):,} tokens; fewer copies need less"
    with raise_on_out_of_memory(model.device, lambda: note):
        found = text_jacobians(model.model, ids, copies=copies, skip=skip)
    if not found.isfinite().all():
        raise BadLens("A Jacobian is not finite.", hint="Load the model in float32, or leave the text out.")
    return found.numpy()


def _usable(model: LoadedModel, texts: Sequence[Any], *, max_tokens: int, skip: int) -> list[list[int]]:
    """Return the ids of the texts that are long enough, cut to `max_tokens`.

    Raises
    ------
    LabError
        If a text has media, or none is long enough.
    """
    encoded = ExampleSet(model, listed(texts)).examples
    for number, example in enumerate(encoded):
        if example.kinds:
            raise LabError(
                f"Text {number} has {', '.join(sorted(example.kinds))}; a lens is fitted on text alone.",
                hint="Leave it out. The lens can be used at soft tokens all the same.",
            )
    found = [list(example.ids[:max_tokens]) for example in encoded]
    usable = [ids for ids in found if len(ids) >= skip + 1 + _FEWEST]
    if not usable:
        raise LabError(
            f"No text has {skip + 1 + _FEWEST} tokens; the longest has {max(map(len, found))}.",
            hint="Pass longer texts, or a smaller skip.",
        )
    return usable


def listed(texts: Any) -> list[Any]:
    """Return texts as a list.

    Raises
    ------
    LabError
        If they are one text, or no list of them.
    """
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise LabError(f"The texts are {short_repr(texts)}.", hint='Pass a list: ["The sun rose …", …].')
    return list(texts)


def _refuse_adapter(model: LoadedModel) -> None:
    if model.adapter is not None:
        raise BadLens(
            f"The adapter {model.adapter.get('name', '')!r} is active; a lens is fitted on weights alone.",
            hint="Unload the adapter, or merge it and load the result.",
        )


def _require_memory(model: LoadedModel, cost: LensCost, free: int) -> None:
    on_cpu = model.device.type == "cpu"
    ram = 3 * cost.sums + (cost.activations if on_cpu else 0)
    for needed, have, where in ((cost.activations, free, "the device"), (ram, free_ram(), "main memory")):
        if needed > have:
            raise DoesNotFit(
                f"Fitting a lens takes {amount(needed)} of {where}; {amount(have)} are free.",
                hint="Lower copies or max_tokens." if cost.copies > 1 else "Lower max_tokens.",
            )


def _freeze(model: torch.nn.Module, restore: RestoreStack) -> None:
    """Keep autograd from keeping what gradients of weights would need."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            restore.undo(parameter.requires_grad_, True)
            parameter.requires_grad_(False)


def _progress(todo: range, done: int, total: int, name: str, shown: bool) -> Iterator[int]:
    from tqdm.auto import tqdm

    bar = tqdm(
        todo, total=total, initial=done, desc=f"Jacobian lens of {name}", unit=" texts", leave=False,
        disable=not shown,
    )  # fmt: skip
    yield from bar
