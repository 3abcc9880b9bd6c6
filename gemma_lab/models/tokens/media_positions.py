"""Positions of soft tokens in their media: box in an image, frame of a video, time in an audio clip."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadTrace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

AUDIO_MS = 40
"""Milliseconds of audio per soft token: 4 mel frames of 10 ms, or 640 samples at 16 kHz in the 12B.

(transformers, ``audio_ms_per_token`` of ``Gemma4Processor``.)
"""

_ONE_CALL = "The ids and image_position_ids (or video_position_ids) must come from one processor call."
_CLOCK = re.compile(r"(\d{2,}):(\d{2})\s*$")


@dataclass(frozen=True)
class Images:
    """The images of a prompt, in its order.

    Attributes
    ----------
    position_ids
        ``image_position_ids`` of the processor, ``(images, patches, 2)``: x and y of each patch on the
        resized grid, −1 where padded. None if unknown: then there are no boxes.
    sizes
        ``(width, height)`` of the originals in pixels. Empty if unknown.
    """

    position_ids: NDArray[np.integer] | None = None
    sizes: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Videos:
    """The videos of a prompt, in its order.

    Attributes
    ----------
    position_ids
        ``video_position_ids`` of the processor, ``(frames of all videos, patches, 2)``.
    frames
        How many frames of each video the model sees (``num_frames_per_video``). Empty: all belong to one.
    sizes
        ``(width, height)`` of the original frames in pixels, one per video. Empty if unknown.
    seconds
        When each frame was taken, one list per video. Empty: the ``mm:ss`` that the chat format writes before
        each frame is read, which is cut to whole seconds.
    """

    position_ids: NDArray[np.integer] | None = None
    frames: Sequence[int] = ()
    sizes: Sequence[tuple[int, int]] = ()
    seconds: Sequence[Sequence[float]] = ()

    @classmethod
    def of(cls, outputs: Mapping[str, Any], *, known: Videos | None = None) -> Videos | None:
        """Return what a processor's outputs state about the videos, completed by what a caller knows.

        Parameters
        ----------
        outputs
            ``video_position_ids``, ``num_frames_per_video`` and, with ``return_metadata=True``,
            ``video_metadata``.
        known
            Takes precedence over the outputs.
        """
        grid = outputs.get("video_position_ids")
        if grid is None:
            return known
        known = known or cls()
        grid = np.asarray(grid)
        counts = np.asarray(outputs.get("num_frames_per_video", ()), dtype=int).reshape(-1).tolist()
        if grid.ndim == 4:  # transformers before 5.23: videos × frames × patches × 2, and no counts
            counts = counts or [grid.shape[1]] * grid.shape[0]
            grid = grid.reshape(-1, *grid.shape[2:])
        metadata = outputs.get("video_metadata") or ()
        sizes = [(row["width"], row["height"]) for row in metadata if row["width"] and row["height"]]
        seconds = [
            [int(index) / row["fps"] for index in row["frames_indices"]]  # a tensor, in older releases
            for row in metadata
            if row["fps"] and row["frames_indices"] is not None
        ]
        return cls(
            grid,
            known.frames or counts,
            known.sizes or (sizes if len(sizes) == len(metadata) else ()),
            known.seconds or (seconds if len(seconds) == len(metadata) else ()),
        )


@dataclass(frozen=True)
class MediaPositions:
    """Positions of tokens in their media, one row per token; −1 where they have none.

    Attributes
    ----------
    media_index
        int16 ``(tokens,)``: which image, video or audio clip, each kind counted from 0.
    boxes
        int32 ``(tokens, 4)``: x0, y0, x1, y1 in pixels of the original image; x1 and y1 exclusive.
    times
        int32 ``(tokens, 2)``: start and end in milliseconds.
    frames
        int16 ``(tokens,)``: which of the frames that the model sees.
    """

    media_index: NDArray[np.int16]
    boxes: NDArray[np.int32]
    times: NDArray[np.int32]
    frames: NDArray[np.int16]

    @classmethod
    def none(cls, tokens: int) -> MediaPositions:
        """Return the positions of `tokens` tokens of text: none."""
        return cls(
            np.full(tokens, -1, np.int16),
            np.full((tokens, 4), -1, np.int32),
            np.full((tokens, 2), -1, np.int32),
            np.full(tokens, -1, np.int16),
        )


def grid_boxes(position_ids: ArrayLike, *, soft_tokens: int, size: tuple[int, int]) -> NDArray[np.int32]:
    """Return the box of each soft token of an image, in pixels of the original.

    Parameters
    ----------
    position_ids
        ``(patches, 2)``: x and y of each patch on the resized image's grid, −1 where padded.
    soft_tokens
        How many soft tokens the image has in the prompt.
    size
        ``(width, height)`` of the original in pixels.

    Returns
    -------
    int32 array ``(soft_tokens, 4)``
        x0, y0, x1, y1, exclusive at the end. The boxes tile the image: edges are rounded to whole pixels,
        and each box has at least one.

    Raises
    ------
    BadTrace
        If the patches do not make `soft_tokens` tokens.

    Notes
    -----
    ``Gemma4VisionPooler`` averages each k × k block of patches and orders the blocks by
    ``x // k + (columns // k) · (y // k)``, row by row; k² is how many patches a soft token has (9). The 12B
    has no pooler: its processor merges the blocks beforehand, in the same order, so that k is 1 here. The
    processor stretches the whole image over the grid, so a block's share of the grid is its share of the
    image, and the size of a patch in pixels does not matter.
    """
    positions = np.asarray(position_ids)
    valid = positions[(positions >= 0).all(axis=-1)]
    side = math.isqrt(len(valid) // soft_tokens) if soft_tokens else 0
    if not soft_tokens or side * side * soft_tokens != len(valid):
        raise BadTrace(
            f"An image has {len(valid):,} patches and {soft_tokens:,} soft tokens: no square block of "
            "patches makes one token.",
            hint=_ONE_CALL,
        )
    columns, rows = (valid.max(axis=0) + 1) // side
    blocks = valid // side
    order, first = np.unique(blocks[:, 0] + columns * blocks[:, 1], return_index=True)
    if len(order) != soft_tokens or order[-1] != soft_tokens - 1 or columns * rows != soft_tokens:
        raise BadTrace(
            f"The patches of an image make {columns} × {rows} blocks of {side} × {side}, but it has "
            f"{soft_tokens:,} soft tokens.",
            hint=_ONE_CALL,
        )
    corners = blocks[first] if side > 1 else valid  # unpooled tokens come as they are listed
    x0, x1 = _edges(corners[:, 0], int(columns), size[0])
    y0, y1 = _edges(corners[:, 1], int(rows), size[1])
    return np.stack([x0, y0, x1, y1], axis=-1).astype(np.int32)


def _edges(
    cells: NDArray[np.integer], count: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = (2 * np.arange(count + 1, dtype=np.int64) * length + count) // (2 * count)  # rounded, halves up
    start = np.minimum(edges[cells], length - 1)
    return start, np.maximum(edges[cells + 1], start + 1)


def runs_of(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return ``(start, stop)`` of each unbroken run of true values."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))


def locate_media(
    modalities: NDArray[np.object_],
    texts: Sequence[str],
    *,
    images: Images | None = None,
    videos: Videos | None = None,
    clips: int | None = None,
    audio_ms: float = AUDIO_MS,
) -> MediaPositions:
    """Return the position of every token in its medium.

    Parameters
    ----------
    modalities
        ``(tokens,)`` of ``"text"``, ``"image"``, ``"video"``, ``"audio"``, ``"special"``. Control tokens
        stand between two media, and between the frames of a video, so each unbroken run is one image,
        frame or clip.
    texts
        The text of each token; the timestamps of frames are read from it.
    images, videos
        What is known of them. None: their tokens are only numbered.
    clips
        Number of audio clips, to check; None if unknown.
    audio_ms
        Milliseconds per soft token of audio.

    Raises
    ------
    BadTrace
        If the number of media in the prompt, or of the tokens of one, is not what the arguments state.

    Notes
    -----
    Soft token *i* of a clip covers the 40 ms from ``40 * i`` on. In E2B and E4B its receptive field before
    the encoder is wider: two convolutions of stride 2 over windows of 20 ms see 40 ms to either side of the
    start of that span. In the 12B it is exactly the span.
    """
    positions = MediaPositions.none(len(modalities))
    _add_images(positions, runs_of(modalities == "image"), images or Images())
    _add_videos(positions, runs_of(modalities == "video"), videos or Videos(), texts)
    runs = runs_of(modalities == "audio")
    _agree(len(runs), clips, "audio clips")
    for medium, (start, stop) in enumerate(runs):
        positions.media_index[start:stop] = medium
        edges = np.rint(np.arange(stop - start + 1) * audio_ms)
        positions.times[start:stop] = np.stack([edges[:-1], edges[1:]], axis=-1)
    return positions


def _add_images(positions: MediaPositions, runs: list[tuple[int, int]], images: Images) -> None:
    known = images.position_ids
    _agree(len(runs), None if known is None else len(known), "images")
    _agree(len(runs), len(images.sizes) or None, "images")
    for medium, (start, stop) in enumerate(runs):
        positions.media_index[start:stop] = medium
        if known is not None and images.sizes:
            size = images.sizes[medium]
            positions.boxes[start:stop] = grid_boxes(known[medium], soft_tokens=stop - start, size=size)


def _add_videos(
    positions: MediaPositions, runs: list[tuple[int, int]], videos: Videos, texts: Sequence[str]
) -> None:
    counts = list(map(int, videos.frames)) or ([len(runs)] if runs else [])
    _agree(len(runs), sum(counts) if videos.frames else None, "video frames")
    _agree(len(runs), None if videos.position_ids is None else len(videos.position_ids), "video frames")
    first = 0
    for medium, count in enumerate(counts):
        mine = runs[first : first + count]
        stamps = [1000 * second for second in videos.seconds[medium]] if videos.seconds else []
        _agree(count, len(stamps) or None, "video timestamps")
        spans = _spans(stamps or [_clock(texts, start) for start, _ in mine])
        for frame, ((start, stop), span) in enumerate(zip(mine, spans, strict=True)):
            positions.media_index[start:stop], positions.frames[start:stop] = medium, frame
            positions.times[start:stop] = span
            if videos.position_ids is not None and videos.sizes:
                grid = videos.position_ids[first + frame]
                positions.boxes[start:stop] = grid_boxes(
                    grid, soft_tokens=stop - start, size=videos.sizes[medium]
                )
        first += count


def _clock(texts: Sequence[str], start: int) -> float | None:
    """Return the ``mm:ss`` before a frame in milliseconds; None if there is none."""
    found = _CLOCK.search("".join(texts[max(0, start - 16) : start]))
    return None if found is None else 1000.0 * (60 * int(found[1]) + int(found[2]))


def _spans(stamps: Sequence[float | None]) -> list[tuple[int, int]]:
    """Return start and end of each frame: until the next one, the last one as long as the one before it."""
    known = [round(stamp) for stamp in stamps if stamp is not None]
    if len(known) != len(stamps):
        return [(-1, -1)] * len(stamps)
    gap = max(0, known[-1] - known[-2]) if len(known) > 1 else 0
    return list(pairwise([*known, known[-1] + gap])) if known else []


def _agree(counted: int, passed: int | None, what: str) -> None:
    if passed is not None and counted != passed:
        raise BadTrace(
            f"The prompt holds {counted:,} {what}, but {passed:,} were passed.",
            hint="Pass the ids, the processor's outputs and the originals of one and the same prompt.",
        )
