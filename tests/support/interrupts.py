"""Interrupts at a chosen line of gemma_lab, and a second one some lines later."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gemma_lab

PACKAGE = str(Path(gemma_lab.__file__).parent)


class Injector:
    """Interrupts the calling thread at the n-th line that it runs in gemma_lab, then a few lines later again.

    Parameters
    ----------
    lines
        How many lines of gemma_lab run before each interrupt; none to count only.
    by_signal
        Send SIGINT, as the Stop button does, instead of raising KeyboardInterrupt on the spot, which no code
        can hold back.

    Attributes
    ----------
    places : list of str
        Where it was interrupted, as ``file:line``.
    trail : list of str
        Without `lines`: every line that ran.
    """

    def __init__(self, *lines: int, by_signal: bool = False) -> None:
        self.lines, self.by_signal = list(lines), by_signal
        self.count, self.places, self.trail = 0, [], []

    def __call__(self, run: Callable[[], Any]) -> BaseException | None:
        """Run a function under the interrupts; return the exception that it ended in, traceback and all."""
        sys.settrace(self._enter)
        try:
            run()
        except (KeyboardInterrupt, RuntimeError) as error:
            return error
        finally:
            sys.settrace(None)
            sys.setprofile(None)
        return None

    def _enter(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event != "line":
            return self._line
        self.count += 1
        if not self.lines and not self.places:
            self.trail.append(f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}")
        if self.lines and self.count >= self.lines[0]:
            del self.lines[0]
            self.count = 0
            self.places.append(f"{frame.f_code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno}")
            if self.lines:
                sys.setprofile(self._resume)  # an exception in a trace function ends the tracing
            if not self.by_signal:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return self._line

    def _resume(self, frame: FrameType, _event: str, _argument: Any) -> None:
        sys.setprofile(None)
        sys.settrace(self._enter)
        outer: FrameType | None = frame
        while outer is not None:
            if outer.f_code.co_filename.startswith(PACKAGE):
                outer.f_trace = self._line
            outer = outer.f_back
