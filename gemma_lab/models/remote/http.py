"""HTTP to a server of models: addresses, retries, time and size limits, errors; JSON and event streams."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ...checks import real_number, short_repr
from ...errors import LabError, MissingExtra, ServerError

#: Largest answer and largest event of a stream, in bytes: expert ids of a long prompt are megabytes.
MAX_BYTES = 512_000_000
#: Statuses after which a request is sent again: the server was busy or starting, and did not answer it.
_AGAIN = (429, 502, 503, 504)
_TRIES = 5
#: Longest wait before another try, in seconds, whatever the server asks for.
_MAX_WAIT = 30.0
_SHOWN = 300


class Connection:
    """A connection to a server.

    Parameters
    ----------
    url
        Its address: ``http://host:port``, with or without ``/v1``.
    token
        Sent as ``Authorization: Bearer …``.
    timeout
        Seconds without a byte from the server after which a request fails.

    Raises
    ------
    LabError
        If the address is none.
    MissingExtra
        Without httpx (extra ``remote``).
    """

    def __init__(self, url: str, *, token: str | None = None, timeout: float = 120.0) -> None:
        self.base = base_url(url)
        self._timeout = real_number("timeout", timeout, minimum=0.001, maximum=1e6)
        if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable()):
            raise LabError(
                "The token is not printable ASCII text.", hint="Pass it as the server's owner gave it."
            )
        self._token = token
        self._client: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _connection, (self.base, self._token, self._timeout)

    def __repr__(self) -> str:
        return f"Connection({self.base})"

    @property
    def root(self) -> str:
        """The address without ``/v1``, where servers have pages of their own."""
        return self.base.removesuffix("/v1")

    def get(self, path: str, *, tries: int = _TRIES) -> Any:
        """Return the JSON of a page; `path` begins with ``/`` and follows `base`."""
        return self._json("GET", self.base + path, None, tries)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON and return the JSON of the answer."""
        return self._json("POST", self.base + path, body, _TRIES)

    def probe(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of a page outside the protocol, under `root`; None if there is no such page."""
        try:
            return self._json("GET" if body is None else "POST", self.root + path, body, 1)
        except ServerError:
            return None

    @contextmanager
    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Iterator[Any]]:
        """Send JSON and give the events of the answer, each as JSON, while the block lasts.

        A server that answers with one JSON value in place of a stream gives that one.
        """
        with self._sent("POST", self.base + path, body, _TRIES) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "text/event-stream":
                yield _events(response, self.base)
            else:
                yield iter([_decoded(_read(response, self.base), self.base)])

    def close(self) -> None:
        """Close the open connections; another request opens one again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _json(self, method: str, url: str, body: Mapping[str, Any] | None, tries: int) -> Any:
        with self._sent(method, url, body, tries) as response:
            return _decoded(_read(response, self.base), self.base)

    @contextmanager
    def _sent(self, method: str, url: str, body: Mapping[str, Any] | None, tries: int) -> Iterator[Any]:
        """Send a request, again if the server did not take it, and give the response with status 200."""
        httpx = library()
        client = self._opened()
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for left in range(tries - 1, -1, -1):
            request = client.build_request(method, url, content=data)
            try:
                response = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if left and isinstance(error, httpx.ConnectTimeout):
                    continue
                raise _unreachable(self.base, error) from None
            except (
                httpx.RemoteProtocolError
            ) as error:  # closed before an answer: a restart, an old connection
                if left:
                    time.sleep(_wait(None, tries - left))
                    continue
                raise _unreachable(self.base, error) from None
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise _unreachable(self.base, error) from None
            try:
                if response.status_code in _AGAIN and left:
                    wait = _wait(response.headers.get("retry-after"), tries - left)
                    response.close()
                    time.sleep(wait)
                    continue
                if response.status_code != 200:
                    raise _refused(response, self.base)
                try:
                    yield response
                except httpx.HTTPError as error:
                    raise _unreachable(self.base, error) from None
                return
            finally:
                response.close()

    def _opened(self) -> Any:
        if self._client is None:
            httpx = library()
            headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
            if self._token:
                headers["authorization"] = f"Bearer {self._token}"
            self._client = httpx.Client(
                headers=headers,
                timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
                follow_redirects=False,  # a token is not sent elsewhere
            )
        return self._client


def _connection(base: str, token: str | None, timeout: float) -> Connection:
    return Connection(base, token=token, timeout=timeout)


def library() -> Any:
    """Return httpx.

    Raises
    ------
    MissingExtra
        If it is not installed.
    """
    try:
        import httpx
    except ImportError:
        raise MissingExtra("A server is asked with httpx.", hint='pip install "gemma_lab[remote]"') from None
    return httpx


def base_url(url: str) -> str:
    """Return the address of a server's protocol: with a scheme, and with ``/v1`` unless it has another path.

    Raises
    ------
    LabError
        If it is no address of a server.
    """
    hint = 'For example gl.connect("http://localhost:8000").'
    if not isinstance(url, str) or not url.strip():
        raise LabError(f"url={short_repr(url)} is no address.", hint=hint)
    text = url.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise LabError(f"url={short_repr(url)} is no address: {error}.", hint=hint) from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise LabError(f"url={short_repr(url)} is no address of a server.", hint=hint)
    if parts.username is not None:
        raise LabError("The address holds a user name.", hint="Pass a token: gl.connect(url, token=…).")
    path = parts.path.rstrip("/").removesuffix("/chat/completions") or "/v1"
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, host if port is None else f"{host}:{port}", path, "", ""))


def one_line(text: Any, length: int = _SHOWN) -> str:
    """Return text of a server for a message: one line without control characters, of limited length."""
    joined = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return joined if len(joined) <= length else f"{joined[: length - 1]}…"


def _wait(asked: str | None, number: int) -> float:
    """Return how long to wait before another try, in seconds: as the server asks, else longer each time."""
    try:
        seconds = float(asked or "")
    except ValueError:
        seconds = 0.25 * 2.0 ** (number - 1) * (1 + random.random())  # noqa: S311 - clients that wait alike collide
    return min(max(seconds, 0.0), _MAX_WAIT)


def _read(response: Any, base: str) -> bytes:
    parts, size = [], 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MAX_BYTES:
            raise ServerError(
                f"The answer of {base} is larger than {MAX_BYTES:,} bytes.", hint="Ask for less."
            )
        parts.append(part)
    return b"".join(parts)


def _decoded(data: bytes, base: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise ServerError(
            f"{base} answered with {len(data):,} bytes that are no JSON: "
            f"{one_line(data[:200].decode('utf-8', 'replace'), 80)!r}.",
            hint="Is this the address of an OpenAI-compatible server? It often ends in /v1.",
        ) from None


def _events(response: Any, base: str) -> Iterator[Any]:
    """Yield the data of server-sent events up to ``[DONE]`` (WHATWG HTML, 9.2): lines of ``data:``."""
    data: list[str] = []
    size = 0
    for line in _lines(response, base):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
            size += len(line)
            if size > MAX_BYTES:
                raise ServerError(
                    f"An event of {base} is larger than {MAX_BYTES:,} bytes.", hint="Ask for less."
                )
        elif not line and data:
            text, data, size = "\n".join(data), [], 0
            if text.strip() == "[DONE]":
                return
            yield _decoded(text.encode("utf-8", "surrogatepass"), base)
    if data and "".join(data).strip() != "[DONE]":  # a last event without its blank line
        yield _decoded("\n".join(data).encode("utf-8", "surrogatepass"), base)


def _lines(response: Any, base: str) -> Iterator[str]:
    """Yield lines that end in LF, CR LF or CR; other characters that Unicode calls line breaks are text."""
    rest = bytearray()
    for part in response.iter_bytes():
        rest += part
        if b"\n" not in part and b"\r" not in part:
            if len(rest) > MAX_BYTES:
                raise ServerError(
                    f"A line of {base} is larger than {MAX_BYTES:,} bytes.", hint="Ask for less."
                )
            continue
        *whole, last = bytes(rest).replace(b"\r\n", b"\n").split(b"\n")
        rest = bytearray(last)
        for line in whole:
            yield from line.decode("utf-8", "replace").split("\r")
    if rest:
        yield rest.decode("utf-8", "replace")
        yield ""


def _unreachable(base: str, error: BaseException) -> ServerError:
    reason = one_line(error) or type(error).__name__
    slow = "Timeout" in type(error).__name__
    return ServerError(
        f"{base} {'did not answer in time' if slow else 'cannot be reached'}: {reason}.",
        hint="A longer timeout= waits for slow answers."
        if slow
        else "Is the server running, and its address right?",
    )


def _refused(response: Any, base: str) -> ServerError:
    """Return the error of a response with another status than 200."""
    status = int(response.status_code)
    body: Any = None
    try:
        text = _read(response, base)[:100_000]
        body = json.loads(text)
        message = error_message(body) or one_line(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        message = one_line(text.decode("utf-8", "replace"))
    except Exception as error:  # the reason is lost with the connection; the status is not
        message = type(error).__name__
    hints = {
        401: "Pass the server's token: gl.connect(url, token=…).",
        403: "Pass the server's token: gl.connect(url, token=…).",
        404: "Check the address, which often ends in /v1, and the model's name.",
        429: "The server is busy, or its limit is used up; try later.",
    }
    code = body.get("error") if isinstance(body, dict) else None
    return ServerError(
        f"{base} refused the request with status {status}: {(message or 'no reason given').rstrip('.')}.",
        hint=hints.get(status, "The server's log may say more."),
        status=status,
        code=str(code.get("code"))[:80] if isinstance(code, dict) and code.get("code") else "",
    )


def error_message(body: Any) -> str:
    """Return the message of an error in one of the forms of servers; ``""`` if there is none."""
    if isinstance(body, dict):
        for key in ("error", "message", "detail"):
            inner = body.get(key)
            if isinstance(inner, str) and inner:
                return one_line(inner)
            if isinstance(inner, dict):
                return one_line(inner.get("message") or inner)
            if isinstance(inner, list) and inner:
                return one_line(inner)
    return ""
