"""A sound as the model is given it: waveform, log-mel spectrogram, soft tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, new_figure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_HOP_MS = 10.0  # milliseconds between two mel frames (Gemma4AudioFeatureExtractor.hop_length at 16 kHz)


def mel_spectrogram_figure(
    samples: ArrayLike, frames: ArrayLike, *, rate: int, soft_tokens: int, name: str = "sound"
) -> Plot:
    """Draw the waveform of a sound over its log-mel spectrogram, with the borders of its soft tokens.

    Parameters
    ----------
    samples
        ``(samples,)``, -1 to 1.
    frames
        Log-mel energies from the feature extractor, ``(frames, mel bins)``, 10 ms apart.
    rate
        Samples per second.
    soft_tokens
        Number of soft tokens that the model is given.
    name
        Name for the title.
    """
    waveform, energies = np.asarray(samples, dtype=np.float32), np.asarray(frames, dtype=np.float32)
    seconds = len(waveform) / rate
    with new_figure(7.6, 3.6, nrows=2, sharex=True, gridspec_kw={"height_ratios": [1, 2]}) as (figure, axes):
        top, below = axes
        edges = np.linspace(0, len(waveform), min(len(waveform), 1500) + 1).astype(int)[:-1]
        times = edges / rate
        top.fill_between(
            times, np.minimum.reduceat(waveform, edges), np.maximum.reduceat(waveform, edges),
            color=OKABE_ITO["blue"], linewidth=0.4,
        )  # fmt: skip
        top.set_ylim(-1, 1)
        top.set_ylabel("amplitude")
        top.set_title(f"{name}: {seconds:.2f} s, {soft_tokens} soft tokens")
        shown = below.imshow(
            energies.T, origin="lower", aspect="auto", cmap="cividis", interpolation="nearest",
            extent=(0, len(energies) * _HOP_MS / 1000, 0, energies.shape[1]),
        )  # fmt: skip
        below.set_ylabel("mel bin")
        below.set_xlabel("seconds")
        for token in range(1, soft_tokens):
            below.axvline(token * 4 * _HOP_MS / 1000, color=FAINT, linewidth=0.35, alpha=0.6)
        below.set_xlim(0, seconds)
        figure.colorbar(shown, ax=list(axes), label="log energy", shrink=0.7)
    return Plot(
        figure, text=f"{name}: {seconds:.2f} s as {len(energies)} mel frames and {soft_tokens} soft tokens."
    )
