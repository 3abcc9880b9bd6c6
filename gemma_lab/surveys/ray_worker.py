"""Workers by what a survey is sent to, and as Ray Data calls them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .server_worker import ServerWorker
from .worker import PartitionWorker, Worker


def make_worker(*, served: bool, concurrent: int, **settings: Any) -> PartitionWorker:
    """Return the worker of a survey: for a server if it is `served`, else for a model in this process."""
    if not served:
        return Worker(**settings)
    kept = {name: value for name, value in settings.items() if name not in ("batch_size", "load")}
    return ServerWorker(**kept, concurrent=concurrent)


class RayWorker:
    """A worker as Ray Data calls it: a batch of partition numbers in, numbers of prompts out.

    The model is loaded with the first batch: Ray tells what a call raises, and of a constructor only that its
    actor died.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self._worker: PartitionWorker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Make the partitions of a batch."""
        if self._worker is None:
            self._worker = make_worker(**self._settings)
        return {
            "prompts": np.array([self._worker.trace_partition(int(number)) for number in batch["number"]])
        }
