"""The times of a video's frames, and which of them are sampled."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Floats of a caller, such as 0.1, are taken as the fraction with at most this denominator that is nearest.
_DENOMINATOR = 10**6


@dataclass(frozen=True)
class Timeline:
    """When each frame of a video is shown: from its own time to the time of the next one.

    Attributes
    ----------
    ticks
        Time of each frame in units of `tick`, ascending, from the beginning of the video.
    tick
        Seconds per tick.
    end
        When the last frame ends, in ticks.
    """

    ticks: Sequence[int]
    tick: Fraction
    end: int

    def __len__(self) -> int:
        return len(self.ticks)

    @property
    def seconds(self) -> float:
        """Length of the video, from its beginning to the end of its last frame."""
        return float(self.end * self.tick)

    def time(self, frame: int) -> float:
        """Return the time of a frame, seconds."""
        return float(self.ticks[frame] * self.tick)

    def part(self, start: float | None, stop: float | None) -> range:
        """Return the numbers of the frames on screen from `start` to before `stop`, seconds.

        The first of them may begin before `start`: it is the last frame whose time is not after it.
        """
        first, last = 0, len(self.ticks)
        if start is not None:
            begin = fraction(start) / self.tick
            first = max(0, bisect_right(self.ticks, begin) - 1) if begin < self.end else last
        if stop is not None:
            last = bisect_left(self.ticks, fraction(stop) / self.tick)
        return range(first, last)

    def at_rate(self, part: range, fps: float, start: float | None) -> list[int]:
        """Return the numbers of the frames that are on screen at regular times, each once.

        Parameters
        ----------
        part
            The frames to choose from.
        fps
            Times per second.
        start
            The first of these times, seconds; default: when the first frame of `part` begins.
        """
        step = 1 / (fraction(fps) * self.tick)  # ticks between two times
        begin = Fraction(self.ticks[part.start]) if start is None else fraction(start) / self.tick
        chosen = []
        for frame in part:
            later = self.ticks[frame + 1] if frame + 1 < len(self.ticks) else self.end
            number = max(0, math.ceil((self.ticks[frame] - begin) / step))  # first time in the frame
            if begin + number * step < max(later, self.ticks[frame] + 1):
                chosen.append(frame)
        return chosen


def fraction(seconds: float) -> Fraction:
    """Return a float of a caller as the fraction that was meant: 0.1 as 1/10."""
    return Fraction(seconds).limit_denominator(_DENOMINATOR)


def sample_indices(total: int, frames: int) -> list[int]:
    """Return the numbers of `frames` of `total` frames, spread uniformly; all if there are no more.

    These are ``i · total // frames``, as in ``default_sample_indices_fn`` of transformers.
    """
    return [number * total // frames for number in range(frames)] if frames < total else list(range(total))
