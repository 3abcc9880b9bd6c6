"""Errors of the server in OpenAI's format: a status and ``{"error": {message, type, param, code}}``."""

from __future__ import annotations

import logging
from typing import Any

from ...errors import ContextFull, DoesNotFit, LabError, MissingExtra

logger = logging.getLogger("gemma_lab.server")
#: Longest message of an error, in characters: it may quote what the client sent.
MAX_MESSAGE = 600
_TYPES = {401: "authentication_error", 404: "invalid_request_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """An error that the client is told.

    Parameters
    ----------
    status
        HTTP status, 400 to 599.
    message
        What is wrong, for the client's programmer.
    param
        The field of the request it is about.
    code
        Short identifier, e.g. ``"context_length_exceeded"``.
    headers
        Headers of the response, e.g. ``Retry-After``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message[:MAX_MESSAGE], param, code
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, Any]:
        """The response as JSON values."""
        kind = "server_error" if self.status >= 500 else _TYPES.get(self.status, "invalid_request_error")
        return {
            "error": {"message": self.message, "type": kind, "param": self.param, "code": self.code},
        }


def invalid(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error of a request that cannot be understood: status 400."""
    return ApiError(400, message, param=param, code=code)


def api_error(error: BaseException) -> ApiError:
    """Return what a client is told of an exception.

    Only the text of a `LabError` is passed on. Anything else is a fault of the server: it is logged, and the
    client learns no more than that.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ContextFull):
        return invalid(error.what, "messages", "context_length_exceeded")
    if isinstance(error, DoesNotFit):
        return ApiError(503, "There is too little free memory for this request.", code="out_of_memory")
    if isinstance(error, MissingExtra):
        return invalid("The server lacks the library that this needs.", code="not_supported")
    if isinstance(error, LabError):
        return invalid(error.what.partition("\n")[0])  # further lines are an engine's own report
    if isinstance(error, RecursionError):
        return invalid("The request is nested too deep.")
    logger.error("A request failed.", exc_info=error)
    return ApiError(500, "The server failed; its log has the details.", code="internal_error")
