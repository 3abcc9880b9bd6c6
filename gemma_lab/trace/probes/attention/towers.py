"""Record the attention of the towers: between the patches of an image, and between the frames of a sound."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import torch

from ....errors import BadTrace
from ....models.loading.restore import RestoreStack
from ...records.attention import Tower
from .interface import AttentionTaps
from .taps import AttentionTap
from .visible_keys import visible

#: Maximum number of bins of a tower's maps: squares of patches of an image, or equal sections of a sound.
MAX_BINS = 64
_BLOCK_SIZE = 1 << 19  # floats in a block of rows


class TowerProbe(AttentionTap):
    """Record the pooled attention of the vision tower and the audio tower, one map per image or sound.

    The vision tower's rows are computed from the queries and keys that its stock function gets. The audio
    tower computes its chunked attention itself and returns the weights; those are pooled.

    Raises
    ------
    BadTrace
        While recording, if rows do not sum to 1.
    """

    def __init__(self) -> None:
        self._done: dict[str, list[Tower]] = {}
        self._grids: list[_Grid] = []  # of the images of the current call
        self._maps: list[list[torch.Tensor]] = []  # by image, then layer
        self._audio_weights: list[tuple[Any, torch.Tensor]] = []  # by layer: the module and its weights

    def attach(self, model: torch.nn.Module, restore: RestoreStack) -> None:
        """Register hooks on the towers that the model has; see `gemma_lab.trace.probes.recorder.Probe`."""
        body = getattr(model, "base_model", model)
        vision, audio = getattr(body, "vision_tower", None), getattr(body, "audio_tower", None)
        if vision is not None:
            AttentionTaps(model, [self], towers=True).attach(restore)
            restore.hook(vision, self._begin_images, before=True, with_kwargs=True)
            restore.hook(vision, self._end_images)
        if audio is not None:
            for module in audio.modules():
                if hasattr(module, "max_past_horizon") and hasattr(module, "chunk_size"):
                    restore.hook(module, self._keep_audio_weights)
            restore.hook(audio, self._end_audio)

    def result(self) -> dict[str, tuple[Tower, ...]]:
        """Return the maps of each tower, in the order of its images, frames and sounds."""
        return {name: tuple(records) for name, records in self._done.items()}

    def on_tower_attention(
        self,
        tower: str,
        layer: int,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float | None,
    ) -> None:
        """Pool the attention of one layer of the vision tower; see `AttentionTap`."""
        del tower, layer, module
        scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        groups = query.shape[1] // key.shape[1]
        for number, grid in enumerate(self._grids):
            real = grid.real.to(query.device)
            rows, keys = query[number][:, real], key[number][:, real].repeat_interleave(groups, dim=0)
            seen = None if mask is None else visible(mask[number if mask.shape[0] > 1 else 0])
            if seen is not None and not bool(seen[:, real][..., real].all()):
                raise BadTrace(
                    "A layer of the vision tower hides patches of an image from each other.",
                    hint="Its maps cannot be computed; trace with towers=False.",
                )
            self._maps[number].append(_pooled(rows, keys, grid.bins.to(query.device), scaling))

    def _begin_images(self, tower: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = inspect.signature(tower.forward).bind_partial(*args).arguments if args else {}
        positions = {**named, **kwargs}["pixel_position_ids"]
        self._grids = [_Grid(of_image) for of_image in positions.cpu()]
        self._maps = [[] for _ in self._grids]

    def _end_images(self, _tower: torch.nn.Module, _args: Any, _output: Any) -> None:
        for grid, maps in zip(self._grids, self._maps, strict=True):
            tower = Tower(_checked_maps(torch.stack(maps)), grid.boxes, int(grid.real.sum()))
            self._done.setdefault("vision", []).append(tower)
        self._grids, self._maps = [], []

    def _keep_audio_weights(self, module: torch.nn.Module, _args: Any, output: Any) -> None:
        self._audio_weights.append((module, output[1].detach()))

    def _end_audio(self, _tower: torch.nn.Module, _args: Any, output: Any) -> None:
        layers, self._audio_weights = self._audio_weights, []
        weights = layers[0][1]
        mask = getattr(output, "attention_mask", None)
        frames = output.last_hidden_state.shape[1]
        for number in range(weights.shape[0]):
            count = frames if mask is None else int(mask[number].sum())
            width = -(-count // MAX_BINS)
            maps = [_pool_chunks(each[number], module, frames=count, width=width) for module, each in layers]
            starts = np.arange(0, count, width, dtype=np.int32)
            boxes = np.stack([starts, np.minimum(starts + width, count)], axis=1)
            self._done.setdefault("audio", []).append(Tower(_checked_maps(torch.stack(maps)), boxes, count))


class _Grid:
    """The patches of one image, divided into at most `MAX_BINS` squares of equal size.

    Attributes
    ----------
    real
        Which positions are patches and not padding, bool ``[positions]``.
    bins
        float32 ``[patches, bins]``: 1 where a patch lies in a bin.
    boxes
        int32 ``[bins, 4]``: x0, y0, x1, y1 of each bin, in patches.
    """

    def __init__(self, positions: torch.Tensor) -> None:
        self.real = (positions >= 0).all(dim=-1)
        x, y = positions[self.real].T
        wide, high = int(x.max()) + 1, int(y.max()) + 1
        side = max(1, math.isqrt(wide * high // MAX_BINS))
        while -(-wide // side) * -(-high // side) > MAX_BINS:
            side += 1
        columns = -(-wide // side)
        numbers, bin_of_patch = torch.unique(y // side * columns + x // side, return_inverse=True)
        self.bins = torch.nn.functional.one_hot(bin_of_patch, len(numbers)).float()
        start = np.stack([numbers.numpy() % columns, numbers.numpy() // columns], axis=1) * side
        stop = np.minimum(start + side, [wide, high])
        self.boxes = np.concatenate([start, stop], axis=1).astype(np.int32)


def _pooled(query: torch.Tensor, key: torch.Tensor, bins: torch.Tensor, scaling: float) -> torch.Tensor:
    """Return the mean attention between bins, float32 ``[heads, bins, bins]``, computed in blocks of rows."""
    heads, count, _ = query.shape
    block = max(8, _BLOCK_SIZE // (heads * count))
    sums = torch.zeros((heads, bins.shape[1], bins.shape[1]), device=query.device)
    for start in range(0, count, block):
        scores = (query[:, start : start + block] @ key.transpose(1, 2)).float() * scaling
        sums += bins[start : start + block].T @ (scores.softmax(dim=-1) @ bins)
    return sums / bins.sum(dim=0)[:, None]


def _pool_chunks(weights: torch.Tensor, module: Any, *, frames: int, width: int) -> torch.Tensor:
    """Pool chunked weights ``[heads, chunks, queries, keys]`` of Gemma 4's audio attention as `_pooled` does.

    Query *i* of chunk *c* is frame ``c * chunk_size + i``; key *j* is frame
    ``c * chunk_size + j - max_past_horizon``.
    """
    heads, chunks, size, span = weights.shape
    starts = torch.arange(chunks, device=weights.device)[:, None] * size
    queries = (starts + torch.arange(size, device=weights.device)).flatten()
    keys = starts + torch.arange(span, device=weights.device) - module.max_past_horizon
    bins = -(-frames // width)
    where = torch.where((keys >= 0) & (keys < frames), keys // width, bins)  # an extra bin takes the padding
    sums = weights.new_zeros((heads, bins, bins + 1), dtype=torch.float32)
    real = queries < frames
    rows = weights.float().reshape(heads, chunks * size, span)[:, real]
    columns = where.repeat_interleave(size, dim=0)[real]
    at = (queries[real] // width)[:, None] * (bins + 1) + columns
    sums.view(heads, -1).index_add_(1, at.flatten(), rows.flatten(1))
    sizes = torch.bincount(queries[real] // width, minlength=bins)
    return sums[..., :bins] / sizes[:, None]


def _checked_maps(maps: torch.Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    values = maps.cpu().numpy()
    error = float(np.abs(values.sum(axis=-1) - 1).max())
    if not error <= 2e-3:  # `not` refuses NaN, too
        raise BadTrace(f"Attention rows of a tower sum to 1 ± {error:.3g}.", hint="Trace in float32.")
    return values
