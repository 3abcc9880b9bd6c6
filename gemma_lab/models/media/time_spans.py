"""The part of a medium that is asked for: from one second to another."""

from __future__ import annotations

import math
from typing import Any

from ...errors import BadMedia


def checked_span(start: Any, stop: Any) -> None:
    """Raise `BadMedia` unless `start` and `stop` are seconds, or None, in this order."""
    for name, value in (("start", start), ("stop", stop)):
        number = not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
        if value is not None and (not number or value < 0):
            raise BadMedia(f"{name}={value!r} is no time in seconds.", hint=f"For example {name}=2.5.")
    if stop is not None and stop <= (start or 0):
        raise BadMedia(
            f"Nothing lies between start={start or 0:g} and stop={stop:g} seconds.",
            hint="stop must be later than start.",
        )
