"""Limits of a server: how large, how many, how long; and reading the body of a request within them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from ...checks import real_number, whole_number
from .errors import ApiError

Receive = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Parameters
    ----------
    max_body_mb
        Largest request, in 10⁶ bytes; media are in it as base64.
    max_pending_mb
        All requests together that are being read or wait, in 10⁶ bytes.
    max_prompt_tokens
        Longest prompt, soft tokens of media included; None for the model's context.
    max_new_tokens
        Longest answer, and the length of one whose request names none.
    max_queue
        Requests that wait for the model; more are refused with status 429.
    max_connections
        Open connections; more are refused with status 503.
    read_timeout
        Seconds for a client to send a request, headers and body each.
    write_timeout
        Seconds that a client may leave its answer unread before it is disconnected.
    """

    max_body_mb: float = 32.0
    max_pending_mb: float = 256.0
    max_prompt_tokens: int | None = None
    max_new_tokens: int = 4096
    max_queue: int = 64
    max_connections: int = 512
    read_timeout: float = 30.0
    write_timeout: float = 30.0

    def __post_init__(self) -> None:
        for name in ("max_body_mb", "max_pending_mb"):
            real_number(name, getattr(self, name), minimum=0.001, maximum=1e6)
        for name in ("read_timeout", "write_timeout"):
            real_number(name, getattr(self, name), minimum=0.05, maximum=1e6)
        for name in ("max_new_tokens", "max_queue", "max_connections"):
            whole_number(name, getattr(self, name), minimum=1)
        if self.max_prompt_tokens is not None:
            whole_number("max_prompt_tokens", self.max_prompt_tokens, minimum=1)


class Pending:
    """Bytes of the requests that the server holds; what exceeds the limit is refused.

    Parameters
    ----------
    limit
        Bytes.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self.held = 0

    def add(self, size: int) -> None:
        """Count bytes, or raise `ApiError` with status 503."""
        if self.held + size > self._limit:
            raise ApiError(
                503,
                "The server holds as much of waiting requests as it may; try again.",
                code="overloaded",
                headers={"retry-after": "5"},
            )
        self.held += size

    def drop(self, size: int) -> None:
        """Count bytes no longer."""
        self.held -= size


async def read_body(
    headers: dict[bytes, bytes], receive: Receive, limits: Limits, pending: Pending
) -> tuple[bytes, int]:
    """Return the body of a request, and how many bytes of `pending` it occupies until they are dropped.

    Raises
    ------
    ApiError
        413 for a body above the limit, by its header before it is read; 408 for one that does not arrive in
        time; 503 if there are too many.
    """
    most = int(limits.max_body_mb * 1e6)
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.read_timeout):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ApiError(400, "The client went before its request was complete.")
                part = message.get("body", b"")
                if size + len(part) > most:
                    raise _too_large(most)
                pending.add(len(part))
                size += len(part)
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts), size
    except BaseException as error:
        pending.drop(size)
        if isinstance(error, TimeoutError):
            raise ApiError(408, f"The request did not arrive within {limits.read_timeout:g} s.") from None
        raise


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"The request is larger than {most:,} bytes.", code="request_too_large")
