"""Partitions traced by actors of Ray Data, on a Ray that is started here or on the connected cluster."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..errors import LabError, MissingExtra
from .ray_start import patient_environment, start_ray
from .ray_worker import RayWorker

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
    with patient_environment():
        try:
            import ray
            import ray.data
        except ImportError:
            raise MissingExtra("engine='ray' needs Ray.", hint='pip install "gemma_lab[ray]"') from None
        started = not ray.is_initialized()
        if started:
            start_ray(ray, workers)
    context = ray.data.DataContext.get_current()
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus = resources.get("GPU", 0) if _uses_gpus(settings) else 0
    shown, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        numbers = ray.data.from_items([{"number": number} for number in left], override_num_blocks=len(left))
        done = numbers.map_batches(
            RayWorker,
            fn_constructor_kwargs=settings,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=_CPU_SHARE,
            num_gpus=gpu_share(gpus, workers),
        )
        for row in done.iter_rows():
            yield int(row["prompts"])
    except ray.exceptions.RayError as error:
        cause = _cause(error)
        raise (LabError(f"Ray failed: {error!s:.400}") if cause is None else cause) from error
    finally:
        context.enable_progress_bars = shown
        if started:
            ray.shutdown()


def gpu_share(gpus: float, workers: int) -> float:
    """Return the GPUs of one actor: whole ones, or of fewer GPUs than actors the share of one that all get.

    Ray shows an actor the GPUs that it was given and no others, and a share is of one GPU.
    """
    whole = int(gpus)
    if whole >= workers:
        return float(whole // workers)
    return math.floor(10_000 / math.ceil(workers / whole)) / 10_000 if whole else 0.0


def _uses_gpus(settings: dict[str, Any]) -> bool:
    return not settings["served"] and not str(settings["load"].get("device", "")).startswith("cpu")


def _cause(error: BaseException) -> LabError | None:
    """Return the error that a worker raised, if it is one of this kit."""
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
