"""What surrounds Ray's start and work, without its processes."""

from __future__ import annotations

import os

import pytest

from gemma_lab.errors import ServerError
from gemma_lab.surveys import ray_start
from gemma_lab.surveys.ray_engine import _cause, gpu_share


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 4, 8])
@pytest.mark.parametrize("workers", [1, 2, 3, 5, 7])
def test_every_actor_finds_its_gpus(gpus, workers):
    """Placed one after the other, as Ray does: a share is of one GPU, more are whole ones."""
    share = gpu_share(float(gpus), workers)
    free = [1.0] * gpus
    for _ in range(workers if share else 0):
        if share >= 1:
            assert share == int(share)
            taken = [n for n, left in enumerate(free) if left == 1.0][: int(share)]
            assert len(taken) == share
        else:
            taken = [next(n for n, left in enumerate(free) if left >= share)]
        for n in taken:
            free[n] -= min(share, 1.0)
    assert (share > 0) == (gpus > 0)


def test_the_environment_is_as_before(monkeypatch):
    own, added = "RAY_worker_register_timeout_seconds", "RAY_gcs_server_port_wait_time_s"
    monkeypatch.setenv(own, "7")
    before = dict(os.environ)
    with ray_start.patient_environment():
        assert (os.environ[own], os.environ[added]) == ("7", "600")
    assert dict(os.environ) == before


def test_ports_are_free_ones_and_the_daemon_hears_of_the_listening_one():
    started = []
    start = ray_start._with_ports(lambda **keywords: started.append(keywords))
    start(metrics_agent_port=0, dashboard_agent_listen_port=0, runtime_env_agent_port=5, other=0)
    (given,) = started
    assert given["runtime_env_agent_port"] == 5
    assert given["other"] == 0
    assert len({given["metrics_agent_port"], given["dashboard_agent_listen_port"]} - {0}) == 2
    run = ray_start._with_listening_port(lambda command, *_: command)
    assert run(["raylet", "--dashboard_agent_command=python agent.py --listen-port=4321"], "raylet")[-1] == (
        "--dashboard_agent_listen_port=4321"
    )
    for unchanged in (["gcs_server"], ["raylet", "--dashboard_agent_command=agent.py --listen-port=0"]):
        assert run(unchanged, "x") == unchanged


def test_a_node_is_waited_for_until_its_daemon_ends(monkeypatch):
    calls = []

    def get_node(*_):
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("not registered")
        return {"node": 1}

    monkeypatch.setattr(ray_start, "_daemons", dict)
    assert ray_start._waiting(get_node)("address", "id") == {"node": 1}
    ended: dict[int, bool] = {}
    monkeypatch.setattr(ray_start, "_daemons", lambda: ended)
    wait = ray_start._waiting(lambda *_: (_ for _ in ()).throw(RuntimeError("never")))
    ended[4321] = True
    with pytest.raises(RuntimeError, match="never"):
        wait("address", "id")


def test_what_a_worker_raised_is_found_in_what_ray_raises():
    inner = ServerError("the server is away", status=502)
    outer = RuntimeError("Ray's own")
    middle = RuntimeError("of a task")
    middle.cause = inner  # type: ignore[attr-defined]
    outer.__cause__ = middle
    assert _cause(outer) is inner
    assert _cause(RuntimeError("else")) is None
    middle.cause = middle  # type: ignore[attr-defined]
    assert _cause(outer) is None
