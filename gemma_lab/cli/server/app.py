"""The application: routes, the token, whose requests are answered, and what becomes of them."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ...models.tokens.vocabulary import Vocabulary
from .answers import Answers, Finished, Started
from .errors import ApiError, api_error, invalid
from .limits import Limits, Pending, read_body
from .requests import CompletionRequest, chat_request, text_request
from .responses import Piece, Writer
from .turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ...lab import Lab

#: Names of this machine, under which a server without a token is asked.
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def application(lab: Lab, *, name: str, limits: Limits, token: str | None = None) -> Starlette:
    """Return the ASGI application that serves a model.

    Parameters
    ----------
    lab
        The model.
    name
        Its name in requests.
    limits
        Limits of requests.
    token
        What clients send as ``Authorization: Bearer …``. None: no token, and only requests that name this
        machine as their host are answered, so that no web page can reach the server through a browser.
    """
    turns = Turns(limits.max_queue)
    answers = Answers(lab, limits, turns)
    pending = Pending(limits.max_pending_mb * 1e6)
    model = _model_card(lab, name)

    async def models(_: Any) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Any) -> Response:
        if request.path_params["name"] != name:
            raise ApiError(404, "There is no such model here.", param="model", code="model_not_found")
        return JSONResponse(model)

    async def health(_: Any) -> Response:
        return JSONResponse({"status": "ok", "busy": turns.busy, "waiting": turns.waiting})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(answers.close)

    def completions(read: Callable[..., CompletionRequest]) -> ASGIApp:
        return Completions(answers, pending, name, read)

    app = Starlette(
        routes=[
            Route("/v1/models", models, methods=["GET"]),
            Route("/v1/models/{name:path}", one_model, methods=["GET"]),
            Route("/v1/chat/completions", completions(chat_request), methods=["POST"]),
            Route("/v1/completions", completions(text_request), methods=["POST"]),
            Route("/health", health, methods=["GET"]),
        ],
        exception_handlers={
            ApiError: _told,
            404: lambda _, __: _response(ApiError(404, "There is no such page.", code="not_found")),
            405: lambda _, __: _response(ApiError(405, "This page takes another method.")),
        },
        lifespan=lifespan,
    )
    app.state.answers = answers
    app.add_middleware(Guard, token=token)
    return app


def _told(_: Any, error: Exception) -> Response:
    return _response(api_error(error))


def _response(error: ApiError) -> Response:
    return JSONResponse(error.body, status_code=error.status, headers=error.headers)


def _model_card(lab: Lab, name: str) -> dict[str, Any]:
    """Return the model as ``/v1/models`` lists it; ``max_model_len`` is vLLM's word for the context."""
    shape = lab.architecture
    return {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "gemma_lab",
        "max_model_len": lab.context,
        "modalities": sorted(lab.modalities),
        "experts": shape.experts or None,
        "layers": len(shape.layers),
    }


class Guard:
    """Refuses requests without the token; without one, those that a web page could send.

    Parameters
    ----------
    app
        What it guards.
    token
        The token, or None.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an error, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        error = self._refusal(headers, scope["path"])
        if error is None:
            await self._app(scope, receive, send)
        else:
            await _response(error)(scope, receive, send)

    def _refusal(self, headers: dict[bytes, bytes], path: str) -> ApiError | None:
        if self._token is None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            if _without_port(host) not in _LOCAL:
                return ApiError(403, "This server answers on this machine only.", code="foreign_host")
            origin = headers.get(b"origin")
            if (
                origin is not None
                and _without_port(origin.decode("latin-1").partition("//")[2]) not in _LOCAL
            ):
                return ApiError(403, "This server answers no web pages.", code="foreign_origin")
            return None
        if path == "/health":
            return None
        scheme, _, sent = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(sent.strip(), self._token.encode()):
            return None
        return ApiError(
            401,
            "A valid token is needed: Authorization: Bearer ….",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


class Completions:
    """Answers the requests of one page: an ASGI application, so that a client's leaving is noticed.

    Parameters
    ----------
    answers
        Runs the model.
    pending
        Bytes of all requests that are held.
    name
        Name of the model.
    read
        Returns the checked request of decoded JSON: `chat_request` or `text_request`.
    """

    def __init__(
        self, answers: Answers, pending: Pending, name: str, read: Callable[..., CompletionRequest]
    ) -> None:
        self._answers, self._pending, self._name, self._read = answers, pending, name, read
        self._vocabulary = Vocabulary(answers.lab.tokenizer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request and answer it, until the client goes."""
        try:
            body, held = await self._body(scope, receive)
        except ApiError as error:
            error.headers["connection"] = "close"  # the rest of its body may still come
            await _response(error)(scope, receive, send)
            return
        try:
            client = (scope.get("client") or ("",))[0]
            await _unless_gone(self._respond(body, client, send), receive)
        finally:
            self._pending.drop(held)

    async def _body(self, scope: Scope, receive: Receive) -> tuple[bytes, int]:
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":  # a web page may send other types without asking the browser
            raise ApiError(415, "The content type must be application/json.")
        return await read_body(headers, receive, self._answers.limits, self._pending)

    async def _respond(self, body: bytes, client: str, send: Send) -> None:
        started = False
        try:
            request = await asyncio.to_thread(self._parse, body)
            writer = Writer(request, self._name, self._vocabulary)
            events = self._answers.run(request, client)
            try:
                if request.stream:
                    async for data in _stream(writer, events, request):
                        if not started:
                            await _begin(send, 200, _EVENTS)
                            started = True
                        await _send(send, data)
                    await _send(send, b"data: [DONE]\n\n", last=True)
                else:
                    whole = await _whole(writer, events)
                    await _begin(send, 200, _JSON)
                    started = True
                    await _send(send, msgspec.json.encode(whole), last=True)
            finally:
                await events.aclose()  # type: ignore[attr-defined]
        except Exception as raised:
            error = api_error(raised)
            data = msgspec.json.encode(error.body)
            if not started:
                headers = [(name.encode(), value.encode()) for name, value in error.headers.items()]
                await _begin(send, error.status, [*_JSON, *headers])
                await _send(send, data, last=True)
            else:  # the status was sent: OpenAI's clients read an error in the stream
                await _send(send, b"data: " + data + b"\n\n")
                await _send(send, b"data: [DONE]\n\n", last=True)

    def _parse(self, body: bytes) -> CompletionRequest:
        try:
            decoded = msgspec.json.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise invalid(f"The request is no JSON: {str(error)[:200]}") from None
        return self._read(decoded, served=self._name, limits=self._answers.limits)


async def _stream(
    writer: Writer, events: AsyncIterator[Any], request: CompletionRequest
) -> AsyncIterator[bytes]:
    """Yield the events of a stream; the first one once the model has accepted the request."""
    async for event in events:
        if isinstance(event, Started):
            writer.begin(event)
            yield _event(writer.chunk(Piece(), first=True))
        elif isinstance(event, Finished):
            for piece in writer.rest():
                yield _event(writer.chunk(piece))
            yield _event(writer.last_chunk(event))
            if request.include_usage:
                yield _event(writer.usage_chunk(event))
        else:
            for piece in writer.pieces(event):
                yield _event(writer.chunk(piece))


async def _whole(writer: Writer, events: AsyncIterator[Any]) -> dict[str, Any]:
    pieces: list[Piece] = []
    async for event in events:
        if isinstance(event, Started):
            writer.begin(event)
        elif isinstance(event, Finished):
            pieces += writer.rest()
            return writer.whole(pieces, event)
        else:
            pieces += writer.pieces(event)
    raise ApiError(500, "The answer did not end.")


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


async def _begin(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send(send: Send, data: bytes, *, last: bool = False) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": not last})


async def _unless_gone(work: Coroutine[Any, Any, None], receive: Callable[[], Awaitable[Any]]) -> None:
    """Run a coroutine until it is done, or cancel it when the client has gone."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task
