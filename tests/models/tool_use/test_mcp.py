"""Tools of a real MCP server process, over stdio and HTTP."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from gemma_lab.errors import BadPrompt, LabError
from gemma_lab.models.tool_use.mcp import McpServer
from gemma_lab.models.tool_use.toolbox import tools_of

SERVER = Path(__file__).parents[2] / "support" / "mcp_server.py"
COMMAND = [sys.executable, str(SERVER)]


@pytest.fixture(scope="module")
def stdio():
    with McpServer(COMMAND) as server:
        yield server


def test_tools_are_listed_with_their_schemas(stdio):
    assert [tool.name for tool in stdio.tools] == ["weather", "fail", "slow", "hostile"]
    weather = stdio.tools[0].declaration["function"]
    assert weather["description"] == "Weather in a city."
    assert weather["parameters"]["properties"]["unit"]["enum"] == ["C", "F"]
    assert weather["parameters"]["required"] == ["city"]


def test_a_call_goes_to_the_server_and_its_result_comes_back(stdio):
    tool = tools_of([stdio])["weather"]
    assert tool.function(city="Rome", unit="F") == {"city": "Rome", "temperature": 70.7}


def test_an_error_of_the_server_is_a_lab_error(stdio):
    with pytest.raises(LabError, match="fail"):
        stdio.call("fail", {"reason": "because"})
    with pytest.raises(LabError, match="nothing"):
        stdio.call("nothing", {})


def test_only_allowed_tools_can_be_called():
    with McpServer(COMMAND, allow=["weather"]) as server:
        assert [tool.name for tool in server.tools] == ["weather"]
        with pytest.raises(LabError, match="slow"):
            server.call("slow", {"seconds": 0})
    with pytest.raises(LabError, match="missing_one"):
        McpServer(COMMAND, allow=["missing_one"])


def test_a_slow_tool_is_given_up_and_the_session_goes_on():
    with McpServer(COMMAND, timeout=60) as server:
        server._timeout = 0.2
        with pytest.raises(LabError, match=r"0\.2 s"):
            server.call("slow", {"seconds": 1})
        server._timeout = 20
        assert server.call("weather", {"city": "Oslo"})["city"] == "Oslo"


def test_closing_ends_the_process_and_the_thread_and_can_be_repeated():
    server = McpServer(COMMAND)
    thread = server._thread
    server.close()
    server.close()
    assert not thread.is_alive()
    assert server.tools == ()
    assert not [each for each in threading.enumerate() if each is thread]


@pytest.mark.parametrize("original", [None, "the same"])
def test_a_server_starts_where_stderr_is_no_file(original, monkeypatch):
    stream = io.StringIO()  # as in the kernels of some notebooks
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "__stderr__", stream if original else None)
    with McpServer(COMMAND, allow=["weather"]) as server:
        assert server.call("weather", {"city": "Oslo"})["city"] == "Oslo"


DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("code", ["import time; time.sleep(600)", DEAF])
def test_a_server_that_never_answers_leaves_no_process(code):
    threads, processes = set(threading.enumerate()), set(psutil.Process().children(recursive=True))
    with pytest.raises(LabError, match="did not answer"):
        McpServer([sys.executable, "-c", code], timeout=1)
    left = set(psutil.Process().children(recursive=True)) - processes
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    assert not [each for each in set(threading.enumerate()) - threads if each.name == "gemma_lab mcp"]


def test_a_list_of_tools_without_an_end_is_refused(stdio, monkeypatch):
    async def page(cursor=None):
        return SimpleNamespace(tools=[SimpleNamespace(name="x")] * 400, next_cursor="more")

    monkeypatch.setattr(stdio, "_client", SimpleNamespace(list_tools=page))
    with pytest.raises(LabError, match="without an end"):
        stdio._listed(None)


@pytest.mark.parametrize("command", ["no_such_program_at_all", [sys.executable, "-c", "print('hello')"], ""])
def test_what_is_no_server_is_said(command):
    with pytest.raises(LabError):
        McpServer(command, timeout=20)


def test_two_tools_of_one_name_are_refused(stdio):
    with pytest.raises(BadPrompt, match="weather"):
        tools_of([stdio, stdio])


def test_over_http():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):  # until it listens
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        with McpServer(f"http://127.0.0.1:{port}/mcp") as server:
            assert server.call("weather", {"city": "Rome"}) == {"city": "Rome", "temperature": 21.5}
    finally:
        process.terminate()
        process.wait()
