"""Checks of values against JSON Schema in which a ``pattern`` has a time limit.

Schemas come from servers and files, and values from a model. Python's ``re`` has no limit, and takes
exponential time for some pairs of a pattern and a text; the ``regex`` package has one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

#: Seconds for the patterns of one value together. What is not decided by then is refused.
TIME_LIMIT = 1.0


def with_time_limit(validator: Any) -> Any:
    """Return a validator class of `jsonschema` for one value, whose patterns share `TIME_LIMIT` seconds."""
    from jsonschema import validators

    return validators.extend(validator, {"pattern": _Patterns().errors})


class _Patterns:
    def __init__(self) -> None:
        self._left = TIME_LIMIT

    def errors(self, _validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
        """Yield an error if a text does not match, or if there was no time to decide it."""
        if not isinstance(value, str):
            return
        import regex
        from jsonschema import ValidationError

        started = time.monotonic()
        try:
            matches = regex.search(pattern, value, timeout=max(self._left, 0.001)) is not None
        except TimeoutError:
            yield ValidationError(f"{value!r:.80} was not matched with {pattern!r:.80} in {TIME_LIMIT:g} s")
        except regex.error as error:  # the syntax of `re` and of `regex` differ in rare cases
            yield ValidationError(f"the pattern {pattern!r:.80} cannot be read: {error}")
        else:
            if not matches:
                yield ValidationError(f"{value!r:.80} does not match {pattern!r:.80}")
        self._left -= time.monotonic() - started
