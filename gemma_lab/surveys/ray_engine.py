"""Partitions traced by actors of Ray Data: a Ray of our own, or the cluster that is already connected."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import LabError, MissingExtra
from .ray_worker import RayWorker

#: Seconds that Ray waits for its own processes; its defaults are 30 and 60, which a busy machine exceeds.
_SECONDS = 600
_PATIENCE = {
    "RAY_gcs_server_port_wait_time_s": str(_SECONDS),
    "RAY_gcs_server_request_timeout_seconds": str(_SECONDS),
    "RAY_worker_register_timeout_seconds": str(_SECONDS),
    "RAY_raylet_start_wait_time_s": str(_SECONDS),
    "RAY_agent_register_timeout_ms": str(1000 * _SECONDS),
}
#: Bytes of Ray's object store: partition numbers go through it, and prompts that are in memory.
_OBJECT_STORE = 128 * 2**20
#: Of a CPU per actor as Ray counts, so that its other tasks always find room.
_CPU_SHARE = 0.5


def trace_on_ray(left: list[int], settings: dict[str, Any], workers: int) -> Iterator[int]:
    """Trace partitions in actors, and yield how many prompts each had, in any order.

    Ray Data bounds how many partitions wait, and restarts actors that die.

    Parameters
    ----------
    left
        Partition numbers.
    settings
        Of `gemma_lab.surveys.ray_worker.RayWorker`.
    workers
        Actors. GPUs are divided among them.

    Raises
    ------
    LabError
        If Ray does not start, or what a worker raised.
    MissingExtra
        If Ray is not installed.
    """
    with _patient_environment():
        try:
            import ray
            import ray.data
        except ImportError:
            raise MissingExtra("engine='ray' needs Ray.", hint='pip install "gemma_lab[ray]"') from None
        ours = not ray.is_initialized()
        if ours:
            _start(ray, workers)
    context = ray.data.DataContext.get_current()
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        numbers = ray.data.from_items([{"number": number} for number in left], override_num_blocks=len(left))
        done = numbers.map_batches(
            RayWorker,
            fn_constructor_kwargs=settings,
            batch_size=1,
            concurrency=workers,
            num_cpus=_CPU_SHARE,
            num_gpus=gpu_share(ray.cluster_resources().get("GPU", 0), workers),
        )
        for row in done.iter_rows():
            yield int(row["prompts"])
    except ray.exceptions.RayError as error:
        cause = _cause(error)
        raise (LabError(f"Ray failed: {error!s:.400}") if cause is None else cause) from error
    finally:
        context.enable_progress_bars = shown
        if ours:
            ray.shutdown()


def gpu_share(gpus: float, workers: int) -> float:
    """Return the GPUs of one actor: a fraction if there are fewer than actors, else a whole number.

    Ray shows an actor the GPUs that it was given and no others.
    """
    return float(gpus // workers) if gpus >= workers else round(gpus / workers, 4)


def _start(ray: Any, workers: int) -> None:
    """Start Ray on this machine, or connect to the cluster that ``RAY_ADDRESS`` names."""
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False}
    if "RAY_ADDRESS" in os.environ:
        options = {"log_to_driver": False}
    else:
        options |= {"num_cpus": workers, "object_store_memory": _OBJECT_STORE}
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
def _patient_environment() -> Iterator[None]:
    """Let Ray's processes take their time to start; they inherit this environment."""
    added = [name for name in _PATIENCE if name not in os.environ]
    os.environ.update({name: _PATIENCE[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _patient_lookup() -> Iterator[None]:
    """Let Ray look for its own node as long as it does for its servers: its limit here is fixed, 30 s."""
    from ray._private import services

    get_node = getattr(services, "get_node", None)
    if get_node is None:  # another release: its own limit holds
        yield
        return

    def patient(*arguments: Any, **keywords: Any) -> Any:
        end = time.monotonic() + _SECONDS
        while True:
            try:
                return get_node(*arguments, **keywords)
            except RuntimeError:  # not there yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    services.get_node = patient
    try:
        yield
    finally:
        services.get_node = get_node


def _cause(error: BaseException) -> LabError | None:
    """Return the error that a worker raised, if it is one of ours."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        cause = getattr(following, "cause", None)
        for one in (following, cause):
            if isinstance(one, LabError) and not hasattr(one, "traceback_str"):
                return one
        following = cause if isinstance(cause, BaseException) else following.__cause__
    return None
