"""Start of Ray on this machine, however busy it is: Ray's own limits are 15 to 60 seconds."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..errors import LabError

#: Seconds that Ray's processes wait for each other.
_SECONDS = 600
_ENVIRONMENT = {
    "RAY_gcs_server_port_wait_time_s": str(_SECONDS),
    "RAY_gcs_server_request_timeout_seconds": str(_SECONDS),
    "RAY_worker_register_timeout_seconds": str(_SECONDS),
    "RAY_agent_register_timeout_ms": str(1000 * _SECONDS),
}
#: Ports that Ray's node daemon otherwise learns from files, for which it waits 15 seconds and then aborts.
_PORTS = (
    "metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port",
)  # fmt: skip
#: Bytes of Ray's object store: partition numbers go through it, and prompts that are in memory.
_OBJECT_STORE = 128 * 2**20


def start_ray(ray: Any, workers: int) -> None:
    """Start Ray with a CPU per worker, or connect to the cluster that ``RAY_ADDRESS`` names.

    Raises
    ------
    LabError
        If it does not start.
    """
    options: dict[str, Any] = {"log_to_driver": False}
    if "RAY_ADDRESS" not in os.environ:
        options |= {"include_dashboard": False, "num_cpus": workers, "object_store_memory": _OBJECT_STORE}
    try:
        with _patient_lookup():
            ray.init(**options)
    except Exception as error:  # Ray raises plain Exception for processes that do not come up
        ray.shutdown()
        raise LabError(
            f"Ray did not start: {error!s:.400}",
            hint="Its logs are under /tmp/ray/session_latest/logs; engine='local' needs no Ray.",
        ) from error


@contextmanager
def patient_environment() -> Iterator[None]:
    """Let Ray's processes take their time; Ray reads this environment on import, and they inherit it."""
    added = [name for name in _ENVIRONMENT if name not in os.environ]
    os.environ.update({name: _ENVIRONMENT[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _patient_lookup() -> Iterator[None]:
    """Lift the limits that Ray 2.60 has in its code, not in its settings.

    They are 30 seconds for the node daemon to register, and 15 for each port of its agents. Another release
    may have other functions in these places: what is not there is not changed, and its own limits hold.
    """
    from ray._private import services

    changes = {
        "get_node": _waiting, "start_raylet": _with_ports, "start_ray_process": _with_listening_port,
    }  # fmt: skip
    with ExitStack() as stack:
        for name, change in changes.items():
            if hasattr(services, name):
                stack.enter_context(_replaced(services, name, change))
        yield


@contextmanager
def _replaced(module: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    kept = getattr(module, name)
    setattr(module, name, change(kept))
    try:
        yield
    finally:
        setattr(module, name, kept)


def _waiting(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Return a look-up of the node that waits until it is there or its daemon has ended."""
    before = set(_daemons())

    def wait(*arguments: Any, **keywords: Any) -> Any:
        end = time.monotonic() + _SECONDS
        while True:
            try:
                return get_node(*arguments, **keywords)
            except RuntimeError:  # not registered yet
                if time.monotonic() > end or _daemon_ended(before):
                    raise
                time.sleep(0.2)

    return wait


def _daemon_ended(before: set[int]) -> bool:
    """Return whether this process has started node daemons, and all of them have ended."""
    ended = [has_ended for number, has_ended in _daemons().items() if number not in before]
    return bool(ended) and all(ended)


def _daemons() -> dict[int, bool]:
    """Return the node daemons that this process started, by process number, and whether each has ended."""
    import psutil

    found = {}
    for child in psutil.Process().children():
        try:
            if child.name() == "raylet":
                found[child.pid] = child.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:  # it ended meanwhile
            found[child.pid] = True
    return found


def _with_ports(start_raylet: Callable[..., Any]) -> Callable[..., Any]:
    """Return a start of the node daemon with free ports for its agents."""

    def start(*arguments: Any, **keywords: Any) -> Any:
        wanted = [name for name in _PORTS if keywords.get(name, 1) == 0]
        return start_raylet(*arguments, **keywords | dict(zip(wanted, _free_ports(len(wanted)), strict=True)))

    return start


def _with_listening_port(start_ray_process: Callable[..., Any]) -> Callable[..., Any]:
    """Return a start of processes that tells the node daemon the port at which its dashboard agent listens.

    Ray tells it the agent, but not the daemon, which then waits for the agent's file.
    """

    def start(command: list[str], *arguments: Any, **keywords: Any) -> Any:
        agent = next((part for part in command if part.startswith("--dashboard_agent_command=")), "")
        port = re.search(r"--listen-port=([1-9]\d*)", agent)
        if port and not any(part.startswith("--dashboard_agent_listen_port=") for part in command):
            command = [*command, f"--dashboard_agent_listen_port={port[1]}"]
        return start_ray_process(command, *arguments, **keywords)

    return start


def _free_ports(count: int) -> list[int]:
    """Return ports of this machine that are free now."""
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in bound]
