"""Tools of a Model Context Protocol server, over stdio or HTTP, through the protocol's own SDK."""

from __future__ import annotations

import asyncio
import atexit
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Self

from ...errors import BadPrompt, LabError, MissingExtra
from ..chat.tools import declared
from .tool import Tool

#: Most tools of a server.
MAX_TOOLS = 1000
#: Seconds that a server's process has to end when it is closed, before it is killed.
_TO_END = 15.0
_HOW = 'For example gl.McpServer("python my_server.py") or gl.McpServer("http://127.0.0.1:8000/mcp").'


class McpServer:
    """A connection to an MCP server, with its tools.

    Opened when it is made; use it in a ``with`` block, or call `close`. The session lives in a thread of its
    own, so that it works in a notebook, where an event loop is running already.

    Parameters
    ----------
    server
        A command that starts a server on stdio, as a string or a list of words, or the URL of a streamable
        HTTP server. Anything else that ``mcp.Client`` takes is passed on.
    allow
        Names of the tools to offer; all by default. Nothing else of the server can be called.
    timeout
        Seconds to wait for the connection, and for each call.
    env
        Environment of the command; the SDK's minimal one by default.

    Raises
    ------
    LabError
        If the server does not start or answer, or lacks a tool of `allow`.
    BadPrompt
        If a tool's schema cannot be declared to the model.
    MissingExtra
        Without the SDK.

    Examples
    --------
    >>> with gl.McpServer("python my_server.py", allow=["weather"]) as server:
    ...     lab.run("What is the weather in Rome?", tools=[server])
    """

    def __init__(
        self,
        server: str | Sequence[str] | Any,
        *,
        allow: Iterable[str] | None = None,
        timeout: float = 30.0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self.name = _target(server, env)
        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gemma_lab mcp", daemon=True)
        self._thread.start()
        self._closing: asyncio.Event | None = None
        self._client: Any = None
        self._session: Future[None] | None = None
        self._live: asyncio.Task[Any] | None = None  # the task that holds the session
        self._opened = False
        self.tools: tuple[Tool, ...] = ()
        try:
            self._open()
            self.tools = self._listed(None if allow is None else list(allow))
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"McpServer({self.name}: {', '.join(tool.name for tool in self.tools) or 'closed'})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session and the server's process; closing twice is safe."""
        if self._loop.is_closed():
            return
        atexit.unregister(self.close)
        if self._session is not None:
            if self._closing is not None:
                self._loop.call_soon_threadsafe(self._closing.set)
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.tools = ()

    async def _end(self) -> None:
        """Wait until the session has ended; cancel it, and wait for its clean-up, if it does not by itself.

        The SDK's clean-up ends the server's process, and kills one that goes on.
        """
        live = self._live
        if live is None:
            return
        if not self._opened:
            live.cancel()  # it waits for an answer of the server
        for seconds in (max(self._timeout, _TO_END), _TO_END):
            if not live.done():
                await asyncio.wait([live], timeout=seconds)
            live.cancel()

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Call a tool and return its result as plain JSON.

        Structured content is returned as it is, text parts as one string. Other parts are named, not passed
        on.

        Raises
        ------
        LabError
            If the tool is not offered, fails, or takes too long.
        """
        if name not in {tool.name for tool in self.tools}:
            raise LabError(f"{self.name} offers no tool {name!r}.", hint=f"Tools: {self.tools}")
        result = self._wait(self._client.call_tool(name, dict(arguments)), f"{name} of {self.name}")
        text = "\n".join(
            part.text if part.type == "text" else f"[{part.type}, not passed on]" for part in result.content
        )
        if result.is_error:
            raise LabError(f"{name}: {text[:500]}", hint="The server refused the call.")
        return result.structured_content if result.structured_content is not None else text

    def _open(self) -> None:
        from mcp import Client

        ready: Future[None] = Future()

        async def live() -> None:
            self._live = asyncio.current_task()
            self._closing = asyncio.Event()
            try:
                async with Client(self._target, read_timeout_seconds=self._timeout) as self._client:
                    ready.set_result(None)
                    await self._closing.wait()
            except BaseException as error:
                if not ready.done():
                    ready.set_exception(error)
                    return
                raise

        self._session = asyncio.run_coroutine_threadsafe(live(), self._loop)
        try:
            ready.result(self._timeout)
        except FutureTimeoutError:
            raise LabError(f"{self.name} did not answer within {self._timeout:g} s.", hint=_HOW) from None
        except Exception as error:
            raise LabError(f"{self.name} could not be opened: {_first(error)}.", hint=_HOW) from error
        self._opened = True
        atexit.register(self.close)  # a server that ignores the end of its input would outlive the program

    def _listed(self, allow: list[str] | None) -> tuple[Tool, ...]:
        offered: list[Any] = []
        cursor: str | None = None
        end = time.monotonic() + self._timeout
        while True:
            page = self._wait(self._client.list_tools(cursor=cursor), f"the tools of {self.name}")
            offered += page.tools
            cursor = page.next_cursor
            if not cursor:
                break
            if len(offered) > MAX_TOOLS or time.monotonic() > end:
                raise LabError(
                    f"{self.name} lists tools without an end: {len(offered):,} so far.",
                    hint=f"At most {MAX_TOOLS:,} tools are read, within the timeout.",
                )
        if allow is not None:
            missing = sorted(set(allow) - {tool.name for tool in offered})
            if missing:
                raise LabError(
                    f"{self.name} has no tool {', '.join(missing)}.",
                    hint=f"It has: {', '.join(tool.name for tool in offered) or 'none'}",
                )
            offered = [tool for tool in offered if tool.name in allow]
        return tuple(self._tool(one) for one in offered)

    def _tool(self, one: Any) -> Tool:
        tool = {"name": one.name, "description": one.description or "", "inputSchema": one.input_schema}
        try:
            return Tool(declared([tool])[0], _Caller(self, one.name), self.name)
        except BadPrompt as error:
            raise BadPrompt(
                error.what, hint=f"{error.hint} Or leave the tool out: allow=[…] names those to offer."
            ) from None

    def _wait(self, work: Coroutine[Any, Any, Any], what: str) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._timeout)
        except FutureTimeoutError:
            future.cancel()
            raise LabError(
                f"{what}: no answer within {self._timeout:g} s.", hint="Raise timeout=…."
            ) from None
        except LabError:
            raise
        except Exception as error:
            raise LabError(f"{what}: {_first(error)}.", hint="See the server's own log.") from error
        except BaseException:  # an interrupt: the call is given up, the session stays
            future.cancel()
            raise


class _Caller:
    """Calls one tool of a server with keyword arguments."""

    def __init__(self, server: McpServer, name: str) -> None:
        self._server, self._name = server, name

    def __call__(self, **arguments: Any) -> Any:
        return self._server.call(self._name, arguments)


def _target(server: Any, env: Mapping[str, str] | None) -> tuple[Any, str]:
    try:
        from mcp import StdioServerParameters
        from mcp.client.stdio import stdio_client
    except ImportError:
        raise MissingExtra("MCP servers need the extra mcp.", hint='pip install "gemma_lab[mcp]"') from None
    if isinstance(server, str) and server.startswith(("http://", "https://")):
        return server, server
    if isinstance(server, str | list | tuple):
        words = shlex.split(server) if isinstance(server, str) else [str(word) for word in server]
        if not words:
            raise LabError("An empty command starts no server.", hint=_HOW)
        parameters = StdioServerParameters(
            command=words[0], args=words[1:], env=None if env is None else dict(env)
        )
        # the transport's own default is the stderr of its import, which in a notebook need not be a file
        return stdio_client(parameters, errlog=_error_log()), " ".join(words)[:60]
    return server, type(server).__name__


def _error_log() -> Any:
    """Return where a server's stderr goes: this process's, or nowhere if that is no file."""
    for stream in (sys.stderr, sys.__stderr__):
        try:
            if stream is not None:
                stream.fileno()
                return stream
        except (OSError, ValueError):  # of a stream that a notebook or a test put in its place
            continue
    return subprocess.DEVNULL


def _first(error: BaseException) -> str:
    """Return the first error of a group of them, in one line."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return (f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)[:300]
