"""Progress of a training run: a record per step, a progress bar, and in a notebook a live loss curve."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...display import Displayed

_REDRAW = 0.5  # seconds between two drawings of the live curve


@dataclass(frozen=True)
class TrainingProgress:
    """One step of a training run.

    Attributes
    ----------
    step
        Number of steps so far.
    steps
        Number of all steps; None if the time ends the run.
    fraction
        Part of the run that is done, 0 to 1.
    loss
        Mean cross entropy of the step's answers, nats per token.
    learning_rate
        Learning rate of the step.
    tokens
        Tokens read so far, padding left out.
    seconds
        Time of training so far.
    """

    step: int
    steps: int | None
    fraction: float
    loss: float
    learning_rate: float
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens read per second."""
        return self.tokens / self.seconds if self.seconds else 0.0


class LossCurve(Displayed):
    """The loss of every step so far.

    Parameters
    ----------
    losses
        Nats per token, one per step.
    fraction
        Part of the run that is done, 0 to 1.
    title
        Name of the model that is trained.
    """

    def __init__(self, losses: Sequence[float], *, fraction: float = 1.0, title: str = "") -> None:
        self.losses, self.fraction, self.title = losses, fraction, title

    def smoothed(self) -> list[float]:
        """Return the running mean over a twentieth of the steps, at least five."""
        width = max(5, len(self.losses) // 20)
        smooth, total = [], 0.0
        for index, loss in enumerate(self.losses):
            total += loss - (self.losses[index - width] if index >= width else 0.0)
            smooth.append(total / min(index + 1, width))
        return smooth

    def __repr__(self) -> str:
        if not self.losses:
            return "LossCurve(no steps yet)"
        smooth = self.smoothed()
        return f"LossCurve({len(self.losses):,} steps, {smooth[0]:.3f} → {smooth[-1]:.3f} nats per token)"


class ProgressReport:
    """Shows a run while it lasts: a bar, the live curve in a notebook, and the caller's own callback.

    Parameters
    ----------
    title
        Name of the model that is trained.
    shown
        Whether the bar and the curve are shown.
    callback
        Called with the `TrainingProgress` of every step.
    """

    def __init__(
        self, title: str, *, shown: bool, callback: Callable[[TrainingProgress], Any] | None
    ) -> None:
        from tqdm.auto import tqdm

        self._title, self._callback = title, callback
        self._bar = tqdm(
            total=1.0, desc=f"fine-tuning {title}", disable=not shown, leave=False, unit="",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed} < {remaining} {postfix}",
        )  # fmt: skip
        self._display = _notebook_display() if shown else None
        self._handle: Any = None
        self._drawn = 0.0

    def step(self, progress: TrainingProgress, losses: Sequence[float]) -> None:
        """Show one step."""
        self._bar.update(max(0.0, progress.fraction - self._bar.n))
        self._bar.set_postfix_str(f"loss {progress.loss:.3f}, {progress.tokens_per_second:,.0f} tokens/s")
        if time.monotonic() - self._drawn > _REDRAW:
            self._draw(progress.fraction, losses)
        if self._callback is not None:
            self._callback(progress)

    def close(self, losses: Sequence[float], fraction: float) -> None:
        """Draw the last state and end the bar."""
        if losses:
            self._draw(fraction, losses)
        self._bar.close()

    def _draw(self, fraction: float, losses: Sequence[float]) -> None:
        if self._display is None:
            return
        curve = LossCurve(list(losses), fraction=fraction, title=self._title)
        if self._handle is None:
            self._handle = self._display(curve, display_id=True)
        else:
            self._handle.update(curve)
        self._drawn = time.monotonic()


def _notebook_display() -> Any:
    """Return IPython's ``display`` in a notebook's kernel, else None; also None in static mode."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel") or _is_static():
        return None
    from IPython.display import display

    return display


def _is_static() -> bool:
    """Return whether ``GEMMA_LAB_STATIC`` asks for outputs that do not change while a cell runs."""
    return os.environ.get("GEMMA_LAB_STATIC", "") not in ("", "0")
