"""Workers of a training: processes that share the rows of each step and add up their gradients.

Small layers keep a second thread of one process waiting most of the time; a second process with half of the
rows does not wait (data parallelism, with the collectives of ``torch.distributed`` over gloo).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..errors import LabError
from .encoding import Row


class Workers:
    """The processes of a training, as one of them sees them.

    All have the same weights and draw the same rows, of which each computes its share.

    Parameters
    ----------
    rank
        Number of this process, from 0; the first one logs and saves.
    count
        How many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank, self.count = rank, count

    @property
    def first(self) -> bool:
        """Whether this process is the one that logs and saves."""
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows of this process; all shares are about equally long."""
        longest_first = sorted(rows, key=lambda row: -len(row.ids))
        turn = [*range(self.count), *reversed(range(self.count))]  # 0 1 1 0: the first is not always longest
        return [row for at, row in enumerate(longest_first) if turn[at % len(turn)] == self.rank]

    def add_up(self, weights: Iterable[torch.nn.Parameter], *, scale: float = 1.0) -> None:
        """Replace gradients by their sums over all processes times `scale`.

        A weight without a gradient in any of them keeps none, so that the optimizer leaves it alone.
        """
        if self.count == 1:
            return
        listed = list(weights)
        has = torch.tensor([float(weight.grad is not None) for weight in listed])
        flat = [torch.zeros_like(w).flatten() if w.grad is None else w.grad.flatten() for w in listed]
        total = torch.cat([*flat, has])
        _all_reduce(total, dist.ReduceOp.SUM)
        grads = torch.split(total, [*(weight.numel() for weight in listed), len(listed)])
        for weight, grad, some in zip(listed, grads, grads[-1], strict=False):
            weight.grad = grad.mul_(scale).view_as(weight) if some else None

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        """Return the sums of named values over all processes, which have the same names in the same order."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def mean(self, values: dict[str, float], names: Sequence[str]) -> dict[str, float]:
        """Return the means of named values over the processes that have them."""
        known = self.sum({name: float(name in values) for name in names})
        total = self.sum({name: values.get(name, 0.0) for name in names})
        return {name: total[name] / known[name] for name in names if known[name]}

    def most(self, value: float) -> float:
        """Return the largest of the processes' values."""
        return self._reduced({"": value}, dist.ReduceOp.MAX)[""]

    def require_same(self, rows: Sequence[Row]) -> None:
        """Raise `LabError` unless all processes drew the same rows: their shares would not fit together."""
        if self.count == 1:
            return
        digest = float(zlib.crc32(repr([row.ids for row in rows]).encode()))
        found = self._reduced({"most": digest, "least": -digest}, dist.ReduceOp.MAX)
        if found["most"] != -found["least"]:
            raise LabError(
                "The workers drew different rows.",
                hint="They run different code: the state is saved, and the same command goes on from it.",
            )

    def _reduced(self, values: dict[str, float], operation: Any) -> dict[str, float]:
        if self.count == 1 or not values:
            return values
        all_of = torch.tensor([*values.values()], dtype=torch.float64)
        _all_reduce(all_of, operation)
        return dict(zip(values, all_of.tolist(), strict=True))

    def copy_from_first(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give tensors of all processes the values of the first one's."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)


@contextlib.contextmanager
def started(count: int, work: Callable[[Workers], None]) -> Iterator[Workers]:
    """Start the other processes of a training and yield this one's place among them.

    Parameters
    ----------
    count
        Number of processes, this one included.
    work
        What each of the others does, a function that can be pickled.
    """
    cores = os.cpu_count() or 1
    if not 1 <= count <= cores:
        raise LabError(
            f"{count} workers were asked for.", hint=f"This machine has {cores} cores: 1 to {cores}."
        )
    if count == 1:
        yield Workers()
        return
    threads = torch.get_num_threads()
    spawned = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "workers"
        others: list[BaseProcess] = [
            spawned.Process(target=_other, args=(rank, count, meeting, work), daemon=True)
            for rank in range(1, count)
        ]
        for process in others:
            process.start()
        try:
            torch.set_num_threads(max(1, threads // count))
            _join(0, count, meeting)
            yield Workers(0, count)
        except BaseException:
            for process in others:  # they would wait for this one
                process.kill()
            raise
        finally:
            for process in others:
                process.join(timeout=60)
                process.kill()
            if dist.is_initialized():
                dist.destroy_process_group()
            torch.set_num_threads(threads)


def _all_reduce(values: torch.Tensor, operation: Any) -> None:
    try:
        dist.all_reduce(values, op=operation)
    except RuntimeError as error:
        raise LabError(
            "A worker of the training has ended.",
            hint="What it printed is above. The state is saved: the same command goes on from it.",
        ) from error


def _join(rank: int, count: int, meeting: Path) -> None:
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)


def _other(rank: int, count: int, meeting: Path, work: Callable[[Workers], None]) -> None:
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    _join(rank, count, meeting)
    with contextlib.suppress(KeyboardInterrupt):  # the first process says so and saves
        work(Workers(rank, count))
