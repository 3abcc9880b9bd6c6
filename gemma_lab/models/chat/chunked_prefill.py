"""Prefill in chunks: the inputs of each, with the media whose soft tokens lie in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import transformers

from ..loading.compat_cache import cache_in, cache_name

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from .prompt import Prompt

OnChunk = Callable[[int], None]
OnLogits = Callable[[torch.Tensor], None]

#: The inputs that hold media, by the kind in ``mm_token_type_ids``: one row per image, frame or sound.
MEDIA_INPUTS = {
    1: ("pixel_values", "image_position_ids"),
    2: ("pixel_values_videos", "video_position_ids"),
    3: ("input_features", "input_features_mask"),
}
_FRAMES = "num_frames_per_video"
_KNOWN = {"input_ids", "attention_mask", "mm_token_type_ids", _FRAMES}.union(*MEDIA_INPUTS.values())
#: Older releases build the local layers' mask of an image after a cache with the wrong layer.
_LATE_MEDIA = tuple(map(int, transformers.__version__.split(".")[:2])) >= (5, 23)


class Medium(NamedTuple):
    """Position of an image, a video or a sound: its tokens, its kind, its rows of the inputs."""

    start: int
    stop: int
    kind: int
    first: int
    after: int


def media(inputs: dict[str, Any]) -> list[Medium] | None:
    """Return the media of a prompt in order; None if they must be read together, in the first chunk.

    They must if their rows cannot be assigned, and with releases of transformers before 5.23.
    """
    kinds = inputs.get("mm_token_type_ids")
    if kinds is None or not kinds.any():
        return []
    if not _LATE_MEDIA or not set(inputs) <= _KNOWN:
        return None
    frames = inputs.get(_FRAMES)
    found: list[Medium] = []
    for kind, names in MEDIA_INPUTS.items():
        runs = [run for run in _runs(kinds) if run[2] == kind]
        if any(name in inputs and len(inputs[name]) != len(runs) for name in names):
            return None
        sizes = frames.tolist() if kind == 2 and frames is not None else [1] * len(runs)
        if sum(sizes) != len(runs):
            return None
        first = 0
        for size in sizes:
            after = first + size
            found.append(Medium(runs[first][0], runs[after - 1][1], kind, first, after))
            first = after
    return sorted(found)


def blocks(inputs: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the token ranges that are read in one chunk: of each medium, or of all of them together."""
    found = media(inputs)
    if found is None:
        return [(0, _runs(inputs["mm_token_type_ids"])[-1][1])]
    return [(medium.start, medium.stop) for medium in found]


def _runs(kinds: torch.Tensor) -> list[tuple[int, int, int]]:
    """Return the ranges of soft tokens: start, stop and kind."""
    runs, start = [], 0
    for kind, members in groupby(kinds[0].tolist()):
        stop = start + len(list(members))
        if kind:
            runs.append((start, stop, kind))
        start = stop
    return runs


@torch.no_grad()
def read(
    model: LoadedModel,
    prompt: Prompt,
    stops: Sequence[int],
    *,
    on_chunk: OnChunk | None = None,
    logits_from: int | None = None,
    on_logits: OnLogits | None = None,
) -> Any:
    """Read a prompt up to the last of `stops`, chunk by chunk; return the model's output for the last one.

    `cache_in` finds its cache, unless the only stop is the end of the prompt: then there is none. Hold
    ``model.lock``.

    Parameters
    ----------
    model, prompt
        The model and its input.
    stops
        The end of each chunk, in tokens; at least one.
    on_chunk
        Called after each chunk with the number of its tokens.
    logits_from, on_logits
        The first position whose logits are wanted, and what is called with those of each chunk,
        ``(positions, vocabulary)``. By default the logits of the last position are the only ones computed.
    """
    total, output, start = len(prompt.ids), None, 0
    name = cache_name(model.model)
    for stop in stops:
        cache = None if output is None else cache_in(output)
        wanted = 0 if logits_from is None else stop - max(start, logits_from)
        if start == 0 and stop == total:
            output = model.model(**prompt.inputs, use_cache=False, logits_to_keep=max(1, wanted))
        else:
            inputs = chunk_inputs(prompt.inputs, start, stop)
            output = model.model(**inputs, **{name: cache}, use_cache=True, logits_to_keep=max(1, wanted))
        if on_chunk is not None:
            on_chunk(stop - start)
        if on_logits is not None and wanted > 0:
            on_logits(output.logits[0, -wanted:])
        start = stop
    return output


def chunk_inputs(inputs: dict[str, Any], start: int, stop: int) -> dict[str, Any]:
    """Return the inputs of one chunk: its ids, and the media whose soft tokens lie in it."""
    ids = {"input_ids": inputs["input_ids"][:, start:stop]}
    kinds = inputs.get("mm_token_type_ids")
    if kinds is None or not kinds[0, start:stop].any():
        return ids
    found = media(inputs)
    given = ids | {"mm_token_type_ids": kinds[:, :stop]}  # read by position, so from the first token on
    if found is None:
        return {name: value for name, value in inputs.items() if name != "attention_mask"} | given
    return given | _rows(inputs, [medium for medium in found if start <= medium.start < stop])


def _rows(inputs: dict[str, Any], chosen: list[Medium]) -> dict[str, Any]:
    """Return what the inputs hold of neighbouring media."""
    rows: dict[str, Any] = {}
    for kind, names in MEDIA_INPUTS.items():
        mine = [medium for medium in chosen if medium.kind == kind]
        if mine:
            part = slice(mine[0].first, mine[-1].after)
            rows |= {name: inputs[name][part] for name in names if name in inputs}
            if kind == 2 and _FRAMES in inputs:
                rows[_FRAMES] = inputs[_FRAMES].new_tensor([each.after - each.first for each in mine])
    return rows


def up_to(prompt: Prompt, stop: int) -> Prompt:
    """Return the part of a prompt up to the end of a chunk, with its media."""
    if stop >= len(prompt.ids):
        return prompt
    inputs = chunk_inputs(prompt.inputs, 0, stop)
    found = media(prompt.inputs)
    # None: all of them, in the first chunk
    kept: dict[str, int | None] = dict.fromkeys(("images", "videos", "audios"))
    if found is not None:
        kept = {
            name: sum(medium.kind == kind and medium.start < stop for medium in found)
            for kind, name in enumerate(kept, start=1)
        }
    media_kept = {name: getattr(prompt, name)[:count] for name, count in kept.items()}
    return replace(prompt, ids=prompt.ids[:stop], inputs=inputs, **media_kept)
