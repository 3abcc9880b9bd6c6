"""Batches of encoded examples, and the order in which a seed draws them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from .encoding import SKIP

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .encoding import EncodedExample

#: Values that fill media tensors of other lengths: a position of −1 is none.
_FILL = {"image_position_ids": -1, "video_position_ids": -1}


@dataclass(frozen=True)
class Batch:
    """Examples, padded on the right.

    Attributes
    ----------
    inputs
        Keyword arguments of the model; ``input_ids`` is ``(examples, tokens)``.
    labels
        ``(examples, tokens)``: the ids of the answers, `SKIP` elsewhere.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor

    @property
    def answer_tokens(self) -> int:
        """Number of tokens with loss."""
        return int((self.labels != SKIP).sum())

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """Return the batch on a device, floating-point inputs in a dtype."""
        inputs = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in self.inputs.items()
        }
        return Batch(inputs, self.labels.to(device))


def make_batch(examples: Sequence[EncodedExample], *, padding: int) -> Batch:
    """Join examples into a batch.

    Parameters
    ----------
    examples
        At least one.
    padding
        Id of the padding token, which is masked.
    """
    shape = len(examples), max(len(example.ids) for example in examples)
    ids = torch.full(shape, padding)
    labels = torch.full(shape, SKIP)
    mask, kinds = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    with_kinds = False
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.tensor(example.ids)
        labels[row, :length] = torch.tensor(example.labels)
        mask[row, :length] = 1
        if (types := example.inputs.get("mm_token_type_ids")) is not None:
            kinds[row, : types.shape[1]] = types[0]
            with_kinds = True
    inputs = {"input_ids": ids, "attention_mask": mask} | ({"mm_token_type_ids": kinds} if with_kinds else {})
    names = dict.fromkeys(name for example in examples for name in example.inputs)
    for name in names:
        if name != "mm_token_type_ids":
            inputs[name] = _joined(
                [example.inputs[name] for example in examples if name in example.inputs], _FILL.get(name, 0)
            )
    return Batch(inputs, labels)


def padding_id(model: LoadedModel) -> int:
    """Return the id that batches are padded with."""
    padding = model.tokenizer.pad_token_id
    return 0 if padding is None else int(padding)


def _joined(parts: list[torch.Tensor], fill: int) -> torch.Tensor:
    """Concatenate tensors along their first dimension; shorter ones are filled up in their second."""
    if len({part.shape[1:] for part in parts}) > 1:
        longest = max(part.shape[1] for part in parts)
        parts = [
            torch.cat(
                [part, part.new_full((part.shape[0], longest - part.shape[1], *part.shape[2:]), fill)], 1
            )
            for part in parts
        ]
    return torch.cat(parts)


def batch_indices(step: int, *, size: int, count: int, seed: int) -> list[int]:
    """Return which examples a step takes: every example once per epoch, in an order that the seed gives.

    Parameters
    ----------
    step
        Number of the step, from 0.
    size
        Examples per batch.
    count
        Number of all examples.
    seed
        Of the order; it depends on nothing else, so that a resumed run draws the same batches.
    """
    return [
        _order(place // count, count, seed)[place % count] for place in range(step * size, (step + 1) * size)
    ]


@lru_cache(maxsize=2)
def _order(epoch: int, count: int, seed: int) -> tuple[int, ...]:
    order = list(range(count))
    random.Random(f"{seed} {epoch}").shuffle(order)  # noqa: S311 — no secret
    return tuple(order)
