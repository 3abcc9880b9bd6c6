"""One call of a function, in a thread of its own, with limits of time and a result as plain JSON."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import LabError
from ..chat.plain_json import plain
from .arguments import bound_arguments

#: Seconds between two looks at the events that stop a call.
_POLL = 0.05


@dataclass(frozen=True)
class Outcome:
    """What a function gave.

    Attributes
    ----------
    value
        Its result as plain JSON.
    error
        Why there is none; ``""`` if there is one.
    invalid
        Whether the function was not called, since an argument is none of the annotated type.
    """

    value: Any = None
    error: str = ""
    invalid: bool = False


def outcome_of(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    name: str,
    timeout: float,
    stop: Sequence[threading.Event] = (),
) -> Outcome | None:
    """Call a function, sync or async, in a separate thread; return None if it takes too long or is stopped.

    That thread has no running event loop, so coroutines run in a notebook, too, and the caller can be
    interrupted while it waits. The result is converted there, since a lazy one may take as long as the call.
    """
    found: list[Outcome] = []
    over = threading.Event()

    def work() -> None:
        try:
            made = _called(function, arguments, name, timeout)
            if made is not None:
                found.append(made)
        finally:
            over.set()

    threading.Thread(target=work, name="gemma_lab tool", daemon=True).start()
    end = time.monotonic() + timeout
    while not over.is_set() and (left := end - time.monotonic()) > 0:
        over.wait(min(left, _POLL) if stop else left)
        if any(event.is_set() for event in stop):
            break
    return found[0] if found else None


def _called(
    function: Callable[..., Any], arguments: Mapping[str, Any], name: str, timeout: float
) -> Outcome | None:
    try:
        by_position, by_name = bound_arguments(function, arguments)
    except Exception as error:  # of the converters, and of the caller's own classes
        return Outcome(error=f"{name} does not take these arguments: {described(error)}", invalid=True)
    try:
        value = function(*by_position, **by_name)
        if inspect.isawaitable(value):
            value, in_time = asyncio.run(_awaited(value, timeout))
            if not in_time:
                return None
        return Outcome(plain(value, f"The result of {name}"))
    except LabError as error:
        return Outcome(error=error.what if type(error).__name__ == "BadPrompt" else described(error))
    except BaseException as error:  # SystemExit and friends of a tool must not end the program
        return Outcome(error=described(error))


async def _awaited(value: Any, timeout: float) -> tuple[Any, bool]:
    """Return what an awaitable gives, and whether it did in time."""
    try:
        async with asyncio.timeout(timeout) as limit:
            return await value, True
    except TimeoutError:
        if limit.expired():
            return None, False
        raise


def described(error: BaseException) -> str:
    """Return kind and message of an error, in at most 500 characters."""
    try:
        message = error.what if isinstance(error, LabError) else str(error)
    except Exception:  # of the caller's class
        message = "its message cannot be read"
    return f"{type(error).__name__}: {message}"[:500] if message else type(error).__name__
