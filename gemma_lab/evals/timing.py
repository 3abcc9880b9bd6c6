"""Time a loaded model on this machine: prefill, decoding steps, and the bandwidth of the memory."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import torch
import transformers

from ..models.loading.compat_cache import cache_in, cache_name
from ..planning.devices import Hardware
from ..planning.measurement import SpeedReport, measure_speed
from ..planning.models import ModelShape, shape_of
from ..planning.quantization import Quantization, quantization
from ..system import hardware as machine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..models.loading.loaded_model import LoadedModel

_PIECE = 2048
_COPIED = 256 << 20
"""Bytes that are copied to measure the bandwidth: more than any cache holds."""
_SIDE = 1024
"""Side of the matrices that are multiplied to measure the rate of operations."""


def speed(lab: LoadedModel, *, depths: Iterable[int] = (0, 512, 2048), repeats: int = 8) -> SpeedReport:
    """Measure prompts and decoding of a loaded model over depth, beside the plan for this machine.

    The plan is made with the bandwidth and the rate of operations that are measured here, not with those of a
    data sheet.

    Parameters
    ----------
    lab
        The model.
    depths
        Tokens in the cache.
    repeats
        Decoding steps timed at each depth.

    Raises
    ------
    LabError
        If a depth is out of range.
    """
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    with lab.lock:
        return measure_speed(TimedLab(lab), depths=depths, repeats=repeats, date=today)


class TimedLab:
    """A loaded model as `measure_speed` times it; see `gemma_lab.planning.measurement.TimedModel`."""

    def __init__(self, lab: LoadedModel) -> None:
        from ..family.architecture import from_config

        self._model = lab.model
        self._device = torch.device(lab.model.device)
        self._vocabulary = lab.vocabulary
        self.name = lab.name
        self.shape: ModelShape = shape_of(from_config(lab.config.to_dict(), name=lab.name))
        self.weights: Quantization = quantization("fp32" if lab.model.dtype == torch.float32 else "bf16")
        self.hardware = measured_hardware(self._device, lab.model.dtype)
        self.runtime = "transformers"
        self.version = transformers.__version__

    def prompt_seconds(self, tokens: int) -> float:
        """Process a prompt of `tokens` random tokens and return the seconds it took."""
        ids = self._tokens(tokens)
        self._read(ids)  # the first pass of a shape chooses kernels and allocates
        start = self._now()
        self._read(ids)
        return self._now() - start

    def step_seconds(self, depth: int, repeats: int) -> list[float]:
        """Return the seconds of single decoding steps with `depth` random tokens in the cache."""
        token = self._tokens(1)
        cache = self._read(self._tokens(depth)) if depth else None
        cache = self._step(token, cache)  # not timed: it allocates
        seconds = []
        for _ in range(repeats):
            start = self._now()
            cache = self._step(token, cache)
            seconds.append(self._now() - start)
        return seconds

    def _tokens(self, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randint(self._vocabulary, (1, count), generator=generator).to(self._device)

    @torch.no_grad()
    def _read(self, ids: torch.Tensor) -> Any:
        cache = None
        for start in range(0, ids.shape[1], _PIECE):
            cache = self._step(ids[:, start : start + _PIECE], cache)
        return cache

    @torch.no_grad()
    def _step(self, ids: torch.Tensor, cache: Any) -> Any:
        given = {} if cache is None else {cache_name(self._model): cache}
        return cache_in(self._model(input_ids=ids, use_cache=True, logits_to_keep=1, **given))

    def _now(self) -> float:
        _wait(self._device)
        return time.perf_counter()


def measured_hardware(device: torch.device, dtype: torch.dtype) -> Hardware:
    """Return this machine as hardware of a plan, with measured bandwidth and rate of operations."""
    name = "cuda:0" if str(device) == "cuda" else str(device)
    here = next(each for each in machine.devices() if each.name == name)
    gpu = "rocm" if getattr(torch.version, "hip", None) else "cuda"
    kind = {"cuda": gpu, "mps": "metal"}.get(device.type, "cpu")
    return Hardware(
        name=here.label,
        kind=kind,
        memory_gib=here.total / 2**30,
        free_gib=here.free / 2**30,
        bandwidth_gb_s=measured_bandwidth(device) / 1e9,
        tensor_tflops=measured_rate(device, dtype) / 1e12,
        unified=kind not in ("cuda", "rocm"),
        source="measured here",
    )


def measured_bandwidth(device: torch.device) -> float:
    """Return the bytes a second that the device's memory delivers: a large copy, read and written."""
    source = torch.ones(_COPIED // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    best = min(_timed(device, lambda: target.copy_(source)) for _ in range(4))
    return 2 * _COPIED / best


def measured_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of a matrix product in `dtype`."""
    matrix = torch.ones(_SIDE, _SIDE, dtype=dtype, device=device)
    best = min(_timed(device, lambda: matrix @ matrix) for _ in range(4))
    return 2 * _SIDE**3 / best


def _timed(device: torch.device, work: Any) -> float:
    _wait(device)
    start = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
