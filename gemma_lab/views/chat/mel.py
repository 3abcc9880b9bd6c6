"""A sound as the model is given it: waveform, log-mel spectrogram or raw frames, soft tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, new_figure

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_HOP_MS = 10.0  # milliseconds between two mel frames (Gemma4AudioFeatureExtractor.hop_length at 16 kHz)
_MEL_FRAMES = 4  # of one soft token: the audio tower's subsampling
_LOUDEST = 99.0  # percentile of the amplitudes at which the colours of raw frames end


def mel_spectrogram_figure(
    samples: ArrayLike,
    frames: ArrayLike,
    *,
    rate: int,
    soft_tokens: int | None = None,
    name: str = "sound",
) -> Plot:
    """Draw the waveform of a sound over what the model is given of it, with the borders of its soft tokens.

    That is its log-mel spectrogram, or for models without an audio tower its raw samples, frame by frame.

    Parameters
    ----------
    samples
        ``(samples,)``, -1 to 1.
    frames
        From the feature extractor: log-mel energies, ``(frames, mel bins)``, 10 ms apart; or the samples
        themselves, ``(frames, samples per frame)``, the last frame padded with zeros.
    rate
        Samples per second.
    soft_tokens
        Number of soft tokens that the model is given. Default: one per four mel frames, or per raw frame.
    name
        Name for the title.
    """
    waveform, given = np.asarray(samples, dtype=np.float32), np.asarray(frames, dtype=np.float32)
    raw = np.array_equal(given.ravel()[: len(waveform)], waveform)
    if soft_tokens is None:
        soft_tokens = len(given) if raw else -(-len(given) // _MEL_FRAMES)
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
        token = _raw(below, given, rate) if raw else _mel(below, given)
        for border in range(1, soft_tokens):
            below.axvline(border * token, color=FAINT, linewidth=0.35, alpha=0.6)
        below.set_xlabel("seconds")
        below.set_xlim(0, seconds)
        label = "amplitude" if raw else "log energy"
        figure.colorbar(below.images[0], ax=list(axes), label=label, shrink=0.7)
    kind = f"raw frames of {given.shape[1]:,} samples" if raw else "mel frames"
    return Plot(figure, text=f"{name}: {seconds:.2f} s as {len(given)} {kind} and {soft_tokens} soft tokens.")


def _mel(axes: Any, energies: NDArray[np.float32]) -> float:
    """Draw a spectrogram and return the seconds of a soft token."""
    axes.imshow(
        energies.T, origin="lower", aspect="auto", cmap="cividis", interpolation="nearest",
        extent=(0, len(energies) * _HOP_MS / 1000, 0, energies.shape[1]),
    )  # fmt: skip
    axes.set_ylabel("mel bin")
    return _MEL_FRAMES * _HOP_MS / 1000


def _raw(axes: Any, frames: NDArray[np.float32], rate: int) -> float:
    """Draw the samples of each frame as a column, and return the seconds of a frame."""
    most = float(np.percentile(np.abs(frames), _LOUDEST)) or 1.0
    length = float(frames.shape[1] / rate)
    axes.imshow(
        frames.T, origin="lower", aspect="auto", cmap="PuOr", interpolation="nearest",
        vmin=-most, vmax=most, extent=(0, len(frames) * length, 0, 1000 * length),
    )  # fmt: skip
    axes.set_ylabel("ms in the frame")
    return length
