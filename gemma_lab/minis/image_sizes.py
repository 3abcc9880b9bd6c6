"""Sizes of the images of training steps, in soft tokens per side.

Most images have the size that the processor gives a square one at the smallest limit. Some are smaller, which
is cheap, some larger. Larger ones come more often while what is learned of the usual size does not hold for
them: each has a running loss of its own.
"""

from __future__ import annotations

import random

from .running_loss import record

FULL_GRID = 8
"""Soft tokens a side that the processor makes of a square picture."""
LIMITS = {11: 140, 16: 280, 23: 560}
"""Larger grids, and the limit of soft tokens that gives each."""

_SMALL, _SMALL_SHARE = (4, 6), 0.14  # smaller grids, and the share of steps with them
_LARGE_SHARE, _MOST_SHARE = 0.06, 0.2  # share of steps with larger grids: once learned, and at most
_OFTEN = {11: 3, 16: 2, 23: 1}  # how often each of them, where their losses are the same
_LEAST, _MUCH = 0.05, 0.5  # of a loss above that of the full grid, in nats per token: as a weight, the most
_ALONE = 1, 2, 3  # how often each of them where the vision encoder learns alone, from some soft tokens
_KEEP = 0.9  # share of a running loss that a step keeps


class ImageSizes:
    """Draws the size of a step's images.

    Parameters
    ----------
    losses
        Grid → running loss in nats per token, of an earlier session.
    """

    def __init__(self, losses: dict[int, float] | None = None) -> None:
        self.losses = dict(losses or {})

    def draw(self, rng: random.Random) -> int:
        """Draw the soft tokens per side of a step's images, mostly the processor's default."""
        share, large = rng.random(), self._large_share()
        if share < large:
            return self.draw_large(rng)
        return rng.choice(_SMALL) if share < large + _SMALL_SHARE else FULL_GRID

    def draw_large(self, rng: random.Random) -> int:
        """Draw the soft tokens per side that a limit above the smallest gives a square image."""
        weights = [often * (_LEAST + self._behind(grid)) for grid, often in _OFTEN.items()]
        return rng.choices(list(_OFTEN), weights)[0]

    def saw(self, grid: int, losses: list[float]) -> None:
        """Record the losses of a step's images of one size."""
        if losses and grid >= FULL_GRID:
            mean = sum(losses) / len(losses)
            record(self.losses, grid, mean, keep=_KEEP)

    def _behind(self, grid: int) -> float:
        """Return how much larger the loss of a larger grid is than that of the full one, up to a limit."""
        if grid not in self.losses or FULL_GRID not in self.losses:
            return 0.0
        return min(_MUCH, max(0.0, self.losses[grid] - self.losses[FULL_GRID]))

    def _large_share(self) -> float:
        behind = sum(self._behind(grid) for grid in _OFTEN) / len(_OFTEN)
        return _LARGE_SHARE + (_MOST_SHARE - _LARGE_SHARE) * behind / _MUCH


def draw_large_alone(rng: random.Random) -> int:
    """Draw a larger grid for a step of the vision encoder alone, where each takes the same time."""
    return rng.choices(list(LIMITS), _ALONE)[0]
