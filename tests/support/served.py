"""Servers for tests: a lab behind `gemma-lab serve` in a thread, and one that answers as it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gemma_lab.cli.server.command import _listen, build_server
from gemma_lab.cli.server.limits import Limits


@contextmanager
def serving(
    lab: Any, *, token: str | None = None, limits: Limits | None = None, grace: float = 1.0
) -> Iterator[str]:
    """Serve a lab on a free port of this machine while the block lasts; gives the address without ``/v1``."""
    server = build_server(
        lab, host="127.0.0.1", port=0, token=token, name=None, limits=limits or Limits(), grace=grace
    )
    listening = _listen(server, "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():  # however long a busy machine takes
        time.sleep(0.01)
    assert server.started
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(600)
        listening.close()
        assert not thread.is_alive()


@dataclass
class Scripted:
    """What a scripted server was sent, and what it answers.

    Attributes
    ----------
    answer
        Called with path and body; returns status and JSON, or status and a list of raw chunks of a stream.
    requests
        Path and body of every request.
    """

    answer: Callable[[str, Any], tuple[int, Any]]
    requests: list[tuple[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def scripted(answer: Callable[[str, Any], tuple[int, Any]]) -> Iterator[tuple[str, Scripted]]:
    """Run a server that answers by a function; gives its address and its record."""
    record = Scripted(answer)

    class Handler(BaseHTTPRequestHandler):
        def _respond(self, body: Any) -> None:
            record.requests.append((self.path, body))
            record.headers.append(dict(self.headers))
            status, value = record.answer(self.path, body)
            streamed = isinstance(value, list) and value and all(isinstance(each, bytes) for each in value)
            data = (
                b"".join(value)
                if streamed
                else value
                if isinstance(value, bytes)
                else json.dumps(value).encode()
            )
            self.send_response(status)
            self.send_header("content-type", "text/event-stream" if streamed else "application/json")
            self.send_header("content-length", str(len(data)))
            if status in (429, 503):
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._respond(None)

        def do_POST(self) -> None:
            self._respond(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", record
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
