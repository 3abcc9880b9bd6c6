"""Filters that the projections of raw patches and raw frames start as.

A patch of 48 × 48 pixels has 6,912 numbers and a frame of 40 ms has 640; the minis' hidden states have 128. A
random projection of that size would mix what a decoder has to tell apart. These start as what images and
sounds of that size are usually described by: low spatial frequencies of brightness and colour (as in JPEG),
and the spectrum in bands of equal width in mel. Both are trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])
"""Orthonormal: brightness, red against blue, green against both."""
_LOWEST, _HIGHEST, _RATE = 100.0, 6500.0, 16_000  # of the bands and of the samples, in Hz


def patch_filters(count: int, inputs: int) -> Any:
    """Return orthonormal cosine filters of a raw patch, the lowest frequencies first, ``(count, inputs)``.

    Each frequency comes in brightness and in two differences of colours.

    Parameters
    ----------
    inputs
        ``3 * side**2``, rows of pixels of three colours each.
    """
    side = round((inputs / 3) ** 0.5)
    at = (np.arange(side) + 0.5) / side
    waves = np.cos(np.pi * np.arange(side)[:, None] * at) * np.sqrt(2 / side)
    waves[0] /= np.sqrt(2)
    order = sorted(((y, x) for y in range(side) for x in range(side)), key=lambda one: (sum(one), max(one)))
    needed = order[: -(-count // 3)]
    filters = [np.einsum("y,x,c->yxc", waves[y], waves[x], c).ravel() for y, x in needed for c in _COLOURS]
    return np.stack(filters[:count]).astype(np.float32)


def frame_filters(count: int, samples: int) -> Any:
    """Return cosine and sine filters of a raw frame at 16 kHz, ``(count, samples)``, each of norm 1.

    For each half of the frame and each of ``count / 4`` bands of equal width in mel, a cosine and a sine with
    a Gaussian window whose bandwidth is that of the band: the sum of their squares is its energy.

    Parameters
    ----------
    count
        A multiple of 4.
    samples
        Samples of a frame.
    """
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (_LOWEST, _HIGHEST))
    edges = 700 * (10 ** (np.linspace(lowest, highest, count // 4 + 1) / 2595) - 1)
    centres, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    time = np.arange(samples) / _RATE
    filters = []
    for middle in (time[-1] / 4, 3 * time[-1] / 4):
        for centre, width in zip(centres, widths, strict=True):
            spread = min(1 / (2 * np.pi * width / 2), time[-1] / 8)  # of a Gaussian, in seconds
            window = np.exp(-0.5 * ((time - middle) / spread) ** 2)
            turns = 2 * np.pi * centre * (time - middle)
            filters += [window * np.cos(turns), window * np.sin(turns)]
    stacked = np.stack(filters)
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)
