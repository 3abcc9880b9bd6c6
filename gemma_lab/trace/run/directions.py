"""Compute directions of the residual stream: from contrasting prompts, and from a router's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...checks import short_repr, whole_number
from ...errors import BadEdit
from ...models.loading.restore import restores_model
from ...models.loading.weights_digest import weights_digest
from ..interventions.direction import HOW, Direction
from ..interventions.validation import ranges
from ..probes.routers import routers
from .activations import activations

if TYPE_CHECKING:
    from typing import Unpack

    from numpy.typing import NDArray

    from ...models.chat.options import PromptOptions
    from ...models.chat.request_builder import PromptLike
    from ...models.loading.loaded_model import LoadedModel
    from ..records.activations import Activations

#: Difference of the means, in parts of the stream's length, that rounding alone can make in float32. Measured
#: are up to 2e-7 in six layers; in pairs of prompts that differ in one word far back it is 2e-4 and more.
_ROUNDING = 1e-5


@restores_model
def direction(
    model: LoadedModel,
    positive: Sequence[PromptLike],
    negative: Sequence[PromptLike],
    *,
    layers: Iterable[int] | None = None,
    positions: Iterable[int] | None = (-1,),
    name: str = "",
    **options: Unpack[PromptOptions],
) -> Direction:
    """Return the difference of the mean residual streams of two lists of prompts; see `Lab.direction`.

    Refused if it is rounding in all layers, or exactly zero in one. Layers in which it is rounding while it
    is more in others stay: vectors as short as that change nothing, and ``norms`` shows them.
    """
    chosen, places = _reusable(layers), _reusable(positions)
    found: tuple[int, ...] = ()
    means, lengths = [], []
    for prompts, what in ((positive, "positive"), (negative, "negative")):
        rows = []
        for prompt in _listed(prompts, what):
            read = activations(model, prompt, layers=chosen, positions=places, **options)
            found = read.layers
            rows.append(read.values.astype(np.float64).mean(axis=1))  # [layers, width]
            lengths.append(_lengths(read))
        means.append(np.mean(rows, axis=0))
    order = np.argsort(found)
    difference = (means[0] - means[1])[order]
    layers_found = tuple(int(found[row]) for row in order)
    _require_difference(model, layers_found, difference, np.mean(lengths, axis=0)[order])
    return Direction(
        name=name or f"{len(positive)} prompts − {len(negative)} prompts",
        method="mean difference",
        layers=layers_found,
        vectors=difference.astype(np.float32),
        model=model.name,
        weights=weights_digest(model.model),
    )


def _lengths(read: Activations) -> NDArray[np.float64]:
    """Return the mean length of the stream of each layer over the positions that were read, ``[layers]``."""
    lengths: NDArray[np.float64] = np.linalg.norm(read.values.astype(np.float64), axis=2).mean(axis=1)
    return lengths


def _require_difference(
    model: LoadedModel,
    layers: tuple[int, ...],
    difference: NDArray[np.float64],
    lengths: NDArray[np.float64],
) -> None:
    """Raise `BadEdit` if two means differ by no more than rounding in all layers, or not at all in one.

    Below float32 the bound is the precision of the type: 1e-5 ÷ eps of float32 times as much would be two
    thirds of the stream in bfloat16.

    Parameters
    ----------
    model, layers
        The model and the layers that were read.
    difference
        Of the means, ``[layers, width]``.
    lengths
        Mean length of the stream, ``[layers]``.
    """
    norms = np.linalg.norm(difference, axis=1)
    rounding = max(_ROUNDING, torch.finfo(model.dtype).eps)
    parts = norms / np.maximum(lengths, np.finfo(np.float64).tiny)
    if (parts <= rounding).all():
        raise BadEdit(
            f"The direction would have length 0 but for rounding: in layers {ranges(layers)} the mean "
            f"residual streams of both lists differ by {parts.max():.1e} of their length at most, and "
            f"rounding of {str(model.dtype).removeprefix('torch.')} makes up to {rounding:.1e}.",
            hint="The two lists must differ in what the model reads up to the tokens of positions=.",
        )
    differing = [layer for layer, norm in zip(layers, norms, strict=True) if norm]
    if len(differing) < len(layers):
        raise BadEdit(
            f"The direction has length 0 in {len(layers) - len(differing)} of {len(layers)} layers: both "
            "lists are read alike there.",
            hint=f"Name those with a difference: layers={differing}.",
        )


def _reusable(indices: Any) -> Any:
    """Return an iterator as a tuple, to be read for every prompt; `activations` checks what it holds."""
    return tuple(indices) if isinstance(indices, Iterator) else indices


def _listed(prompts: Any, what: str) -> Sequence[Any]:
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Sequence) or not prompts:
        raise BadEdit(f"The {what} prompts are {short_repr(prompts)}.", hint=HOW)
    return prompts


def expert_direction(model: LoadedModel, layer: int, expert: int) -> Direction:
    """Return the direction that raises one expert's router logit; see `Lab.expert_direction`."""
    layer, expert = whole_number("layer", layer, minimum=0), whole_number("expert", expert, minimum=0)
    by_layer = {router.layer: router for router in routers(model.model, missing_ok=True)}
    if layer not in by_layer:
        raise BadEdit(
            f"Layer {layer} of {model.name} does not exist or has no experts.",
            hint=f"Layers with experts: {', '.join(map(str, by_layer)) or 'none; it is a dense model'}.",
        )
    router = by_layer[layer]
    if expert >= router.experts:
        raise BadEdit(
            f"Layer {layer} of {model.name} has no expert {expert}.",
            hint=f"It has 0 to {router.experts - 1}.",
        )
    if layer == 0:
        raise BadEdit(
            "The router of layer 0 reads embeddings: no layer comes before it.",
            hint="Name a later layer, or use boost_experts={0: {…}}.",
        )
    rows = _rows(router.module)
    vector = rows[expert] - rows.mean(axis=0)
    return Direction(
        name=f"expert {expert} of layer {layer}",
        method="router logit",
        layers=(layer - 1,),
        vectors=(vector / np.linalg.norm(vector))[None].astype(np.float32),
        model=model.name,
        weights=weights_digest(model.model),
    )


def _rows(module: Any) -> NDArray[np.float64]:
    """Return what a router multiplies the normalised residual stream with, ``[experts, width]``."""
    matrix = getattr(module, "weight", None)
    weight = module.proj.weight if matrix is None else matrix
    rows: NDArray[np.float64] = weight.detach().double().cpu().numpy()
    scale = getattr(module, "scale", None)  # Gemma 4 multiplies its normalised input with it
    return rows if scale is None else rows * scale.detach().double().cpu().numpy()
