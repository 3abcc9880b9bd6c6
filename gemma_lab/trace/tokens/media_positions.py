"""Where a soft token lies in its medium: the box in a picture, the frame of a video, the time in a sound."""

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
"""Milliseconds of sound in a soft token: 4 mel frames of 10 ms, or 640 samples at 16 kHz in the 12B.

(transformers, ``audio_ms_per_token`` of ``Gemma4Processor``.)
"""

_ONE_CALL = "The ids and image_position_ids (or video_position_ids) must come from one processor call."
_CLOCK = re.compile(r"(\d{2,}):(\d{2})\s*$")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a prompt, in its order.

    Attributes
    ----------
    position_ids
        ``image_position_ids`` of the processor, ``(pictures, patches, 2)``: x and y of each patch on the
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
        ``(width, height)`` of the original frames in pixels, one a video. Empty if unknown.
    seconds
        When each frame was taken, one list a video. Empty: the ``mm:ss`` that the chat format writes before
        each frame is read, which is cut to whole seconds.
    """

    position_ids: NDArray[np.integer] | None = None
    frames: Sequence[int] = ()
    sizes: Sequence[tuple[int, int]] = ()
    seconds: Sequence[Sequence[float]] = ()

    @classmethod
    def of(cls, outputs: Mapping[str, Any], *, said: Videos | None = None) -> Videos | None:
        """Return what a processor's outputs say of the videos, after what a caller said.

        Parameters
        ----------
        outputs
            ``video_position_ids``, ``num_frames_per_video`` and, with ``return_metadata=True``,
            ``video_metadata``.
        said
            Goes before what the outputs say.
        """
        grid = outputs.get("video_position_ids")
        if grid is None:
            return said
        said = said or cls()
        counts = np.asarray(outputs.get("num_frames_per_video", ()), dtype=int).reshape(-1).tolist()
        known = outputs.get("video_metadata") or ()
        sizes = [(row["width"], row["height"]) for row in known if row["width"] and row["height"]]
        seconds = [
            [index / row["fps"] for index in row["frames_indices"]]
            for row in known
            if row["fps"] and row["frames_indices"] is not None
        ]
        return cls(
            np.asarray(grid),
            said.frames or counts,
            said.sizes or (sizes if len(sizes) == len(known) else ()),
            said.seconds or (seconds if len(seconds) == len(known) else ()),
        )


@dataclass(frozen=True)
class MediaPositions:
    """Where tokens lie in their media, one row a token; −1 where that means nothing.

    Attributes
    ----------
    media_index
        int16 ``(tokens,)``: which picture, which video or which sound, each kind counted from 0.
    boxes
        int32 ``(tokens, 4)``: x0, y0, x1, y1 in pixels of the original picture; x1 and y1 exclusive.
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
        """Return the places of `tokens` tokens of text."""
        return cls(
            np.full(tokens, -1, np.int16),
            np.full((tokens, 4), -1, np.int32),
            np.full((tokens, 2), -1, np.int32),
            np.full(tokens, -1, np.int16),
        )


def grid_boxes(position_ids: ArrayLike, *, soft: int, size: tuple[int, int]) -> NDArray[np.int32]:
    """Return the box of each soft token of a picture, in pixels of the original.

    Parameters
    ----------
    position_ids
        ``(patches, 2)``: x and y of each patch on the resized picture's grid, −1 where padded.
    soft
        How many soft tokens the picture has in the prompt.
    size
        ``(width, height)`` of the original in pixels.

    Returns
    -------
    int32 array ``(soft, 4)``
        x0, y0, x1, y1, exclusive at the end. The boxes tile the picture: edges are rounded to whole pixels,
        and each box has at least one.

    Raises
    ------
    BadTrace
        If the patches do not make `soft` tokens.

    Notes
    -----
    ``Gemma4VisionPooler`` averages each k × k block of patches and orders the blocks by
    ``x // k + (columns // k) · (y // k)``, row by row; k² is how many patches a soft token has (9). The 12B
    has no pooler: its processor merges the blocks beforehand, in the same order, so that k is 1 here. The
    processor stretches the whole picture over the grid, so a block's share of the grid is its share of the
    picture, and the size of a patch in pixels does not matter.
    """
    positions = np.asarray(position_ids)
    valid = positions[(positions >= 0).all(axis=-1)]
    side = math.isqrt(len(valid) // soft) if soft else 0
    if not soft or side * side * soft != len(valid):
        raise BadTrace(
            f"A picture has {len(valid):,} patches and {soft:,} soft tokens: no square block of patches "
            "makes one token.",
            hint=_ONE_CALL,
        )
    columns, rows = (valid.max(axis=0) + 1) // side
    blocks = valid // side
    order, first = np.unique(blocks[:, 0] + columns * blocks[:, 1], return_index=True)
    if len(order) != soft or order[-1] != soft - 1 or columns * rows != soft:
        raise BadTrace(
            f"The patches of a picture make {columns} × {rows} blocks of {side} × {side}, but it has "
            f"{soft:,} soft tokens.",
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


def locate(
    modalities: NDArray[np.object_],
    texts: Sequence[str],
    *,
    pictures: Pictures | None = None,
    videos: Videos | None = None,
    sounds: int | None = None,
    audio_ms: float = AUDIO_MS,
) -> MediaPositions:
    """Return where every token lies in its medium.

    Parameters
    ----------
    modalities
        ``(tokens,)`` of ``"text"``, ``"image"``, ``"video"``, ``"audio"``, ``"special"``. Control tokens
        stand between two media, and between the frames of a video, so each unbroken run is one picture,
        frame or sound.
    texts
        What each token shows, where the timestamps of frames are read.
    pictures, videos
        What is known of them. None: their tokens are numbered, no more.
    sounds
        How many sounds were given, to check; None if unknown.
    audio_ms
        Milliseconds a soft token of sound.

    Raises
    ------
    BadTrace
        If the prompt does not hold as many media, or tokens of one, as were given.

    Notes
    -----
    A soft token of sound is given the 40 ms from its number on. In E2B and E4B its receptive field before the
    encoder is wider: two convolutions of stride 2 over windows of 20 ms see 40 ms to either side of the start
    of that span. In the 12B it is exactly the span.
    """
    places = MediaPositions.none(len(modalities))
    _place_pictures(places, runs_of(modalities == "image"), pictures or Pictures())
    _place_videos(places, runs_of(modalities == "video"), videos or Videos(), texts)
    clips = runs_of(modalities == "audio")
    _agree(len(clips), sounds, "sounds")
    for medium, (start, stop) in enumerate(clips):
        places.media_index[start:stop] = medium
        edges = np.rint(np.arange(stop - start + 1) * audio_ms)
        places.times[start:stop] = np.stack([edges[:-1], edges[1:]], axis=-1)
    return places


def _place_pictures(places: MediaPositions, runs: list[tuple[int, int]], pictures: Pictures) -> None:
    known = pictures.position_ids
    _agree(len(runs), None if known is None else len(known), "pictures")
    _agree(len(runs), len(pictures.sizes) or None, "pictures")
    for medium, (start, stop) in enumerate(runs):
        places.media_index[start:stop] = medium
        if known is not None and pictures.sizes:
            size = pictures.sizes[medium]
            places.boxes[start:stop] = grid_boxes(known[medium], soft=stop - start, size=size)


def _place_videos(
    places: MediaPositions, runs: list[tuple[int, int]], videos: Videos, texts: Sequence[str]
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
            places.media_index[start:stop], places.frames[start:stop] = medium, frame
            places.times[start:stop] = span
            if videos.position_ids is not None and videos.sizes:
                grid = videos.position_ids[first + frame]
                places.boxes[start:stop] = grid_boxes(grid, soft=stop - start, size=videos.sizes[medium])
        first += count


def _clock(texts: Sequence[str], start: int) -> float | None:
    """Read the ``mm:ss`` before a frame, in milliseconds."""
    found = _CLOCK.search("".join(texts[max(0, start - 16) : start]))
    return None if found is None else 1000.0 * (60 * int(found[1]) + int(found[2]))


def _spans(stamps: Sequence[float | None]) -> list[tuple[int, int]]:
    """A frame stands until the next one is taken; the last one as long as the one before it."""
    known = [round(stamp) for stamp in stamps if stamp is not None]
    if len(known) != len(stamps):
        return [(-1, -1)] * len(stamps)
    gap = max(0, known[-1] - known[-2]) if len(known) > 1 else 0
    return list(pairwise([*known, known[-1] + gap])) if known else []


def _agree(found: int, given: int | None, what: str) -> None:
    if given is not None and found != given:
        raise BadTrace(
            f"The prompt holds {found:,} {what}, but {given:,} were given.",
            hint="Pass the ids, the processor's outputs and the originals of one and the same prompt.",
        )
