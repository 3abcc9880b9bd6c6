"""Report the libraries, devices and memory of this machine, and which checkpoints fit: `doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..display import Displayed
from ..errors import UnknownModel
from . import hardware
from .hardware import Device

if TYPE_CHECKING:
    from ..family.architecture import Architecture
    from ..family.catalog import Checkpoint

LIBRARIES = (
    "gemma_lab",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "safetensors",
    "huggingface_hub",
    "ipywidgets",
    "anywidget",
    "jupyterlab",
)
FORMATS = {
    "bf16": ("bf16", "transformers"),
    "Q8_0": ("Q8_0", "llama.cpp"),
    "Q4_0": ("Q4_0", "llama.cpp"),
}
"""Weight format → quantisation and runtime of its plan."""
_TRANSFORMERS = (5, 15)


@dataclass(frozen=True)
class Fit:
    """Memory and longest context of one checkpoint on the best device of this machine.

    Attributes
    ----------
    name
        Alias of the checkpoint.
    needs
        Format of `FORMATS` → bytes on the device, with a cache of 8,192 tokens (or of the model's context, if
        it is shorter).
    context
        Format → longest context in tokens that fits; 0 if none does.
    """

    name: str
    needs: Mapping[str, int]
    context: Mapping[str, int]


@dataclass(frozen=True)
class Report(Displayed):
    """The libraries, devices and memory of a machine. Only `free` and `fits` change from minute to minute.

    Attributes
    ----------
    python, system
        Version of Python; operating system and processor architecture.
    versions
        Library → version; None if it is not installed.
    where
        ``"Colab"``, ``"Kaggle"``, ``"Binder"``, ``"CI"`` or ``"local"``.
    devices
        Devices that a model can run on, GPUs first.
    dtype
        The dtype that `load` chooses on the best device.
    offline
        Whether the environment forbids downloads.
    token
        Whether ``HF_TOKEN`` is set. Gemma 4 does not need it; its value is never read.
    free
        ``"RAM"``, ``"disk"`` and the name of each GPU → free bytes.
    fits
        Memory and longest context of each checkpoint, with the memory that is free now.
    advice
        How to fix the problems found.
    """

    python: str
    system: str
    versions: Mapping[str, str | None]
    where: str
    devices: tuple[Device, ...]
    dtype: str
    offline: bool
    token: bool
    free: Mapping[str, int]
    fits: tuple[Fit, ...]
    advice: tuple[str, ...]

    @property
    def best(self) -> Device:
        """The device that `load` chooses."""
        return best(self.devices)

    def __repr__(self) -> str:
        torch = self.versions.get("torch") or "missing"
        transformers = self.versions.get("transformers") or "missing"
        libraries = f"Python {self.python}, torch {torch}, transformers {transformers}"
        return f"Report({libraries}, {self.best.name} in {self.dtype}, {self.where})"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, in two parts: ``"stable"`` and ``"now"``."""
        devices = [
            {"name": d.name, "label": d.label, "bfloat16": d.bfloat16, "total": d.total} for d in self.devices
        ]
        stable = {
            "python": self.python, "system": self.system, "versions": dict(self.versions),
            "where": self.where, "devices": devices, "dtype": self.dtype,
            "offline": self.offline, "token": self.token,
        }  # fmt: skip
        fits = [{"name": f.name, "needs": dict(f.needs), "context": dict(f.context)} for f in self.fits]
        return {"stable": stable, "now": {"free": dict(self.free), "fits": fits, "advice": list(self.advice)}}


def doctor(model: str | None = None) -> Report:
    """Report the libraries, devices and free memory of this machine, and which checkpoints fit.

    Works without torch and without a network.

    Parameters
    ----------
    model
        The only checkpoint to report, an alias or a hub id. Default: every size and mini.

    Raises
    ------
    UnknownModel
        If `model` is not in the catalog.
    """
    devices = hardware.devices()
    chosen = best(devices)
    free = {"RAM": devices[-1].free, "disk": _free_disk()}
    free |= {device.name: device.free for device in devices if device.kind != "cpu"}
    versions = {name: _version(name) for name in LIBRARIES}
    native = chosen.kind != "cpu" and chosen.bfloat16
    return Report(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        versions=MappingProxyType(versions),
        where=where(),
        devices=devices,
        dtype="bfloat16" if native else "float32 (bfloat16 if that does not fit)",
        offline=offline(),
        token=bool(os.environ.get("HF_TOKEN")),
        free=MappingProxyType(free),
        fits=tuple(_fit(checkpoint, chosen) for checkpoint in _candidates(model)),
        advice=tuple(_advice(versions, devices)),
    )


def best(devices: tuple[Device, ...]) -> Device:
    """Return the device that `load` chooses: the GPU with the most free memory, else the CPU."""
    gpus = [device for device in devices if device.kind != "cpu"]
    return max(gpus, key=lambda gpu: gpu.free) if gpus else devices[-1]


def where() -> str:
    """Return the hosting service: ``"Colab"``, ``"Kaggle"``, ``"Binder"``, ``"CI"`` or ``"local"``."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "Colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "Kaggle"
    if "BINDER_SERVICE_HOST" in os.environ or "BINDER_REPO_URL" in os.environ:
        return "Binder"
    return "CI" if os.environ.get("CI", "").lower() in ("1", "true") else "local"


def offline() -> bool:
    """Return whether ``GEMMA_LAB_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids downloads."""
    names = ("GEMMA_LAB_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on") for name in names)


def hub_cache() -> Path:
    """Return the cache folder of huggingface_hub, by its own rules, without importing it."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def _free_disk() -> int:
    cache = hub_cache().absolute()
    return shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _candidates(model: str | None) -> list[Checkpoint]:
    from ..family.catalog import catalog, find, suggest

    if model is None:
        return [row for row in catalog(standalone=True) if row.variant in ("it", "mini")]
    name = model if isinstance(model, str) else ""
    found = find(name)
    if found is None:
        close = suggest(name)
        hint = f"Did you mean {' or '.join(close)}?" if close else "gl.catalog() lists the names."
        raise UnknownModel(f"No model is called {model!r}.", hint=hint)
    return [found]


def _fit(checkpoint: Checkpoint, device: Device) -> Fit:
    from ..planning.local import local_hardware, local_plan

    machine = local_hardware(kind=device.kind, label=device.label, total=device.total, free=device.free)
    model, needs, context = _shape(checkpoint), {}, {}
    for name, (quantization, runtime) in FORMATS.items():
        if quantization not in checkpoint.weight_bytes and not checkpoint.standalone:
            continue  # a drafter or a packed checkpoint, which has one size only
        plan = local_plan(model, hardware=machine, quantization=quantization, runtime=runtime)
        needs[name] = round(plan.needed_bytes)
        context[name] = plan.longest_context or 0
    return Fit(checkpoint.alias, MappingProxyType(needs), MappingProxyType(context))


def _shape(checkpoint: Checkpoint) -> Architecture:
    import json

    from ..assets import data_path
    from ..family.architecture import from_config, get_architecture

    if checkpoint.path is None:
        return get_architecture(checkpoint.size)
    config = json.loads((data_path(checkpoint.path) / "config.json").read_text(encoding="utf-8"))
    return from_config(config, name=checkpoint.alias)


def _advice(versions: Mapping[str, str | None], devices: tuple[Device, ...]) -> list[str]:
    advice = []
    broken = _torch_error() if versions["torch"] else None
    if versions["torch"] is None:
        advice.append("torch is not installed: pip install torch torchvision")
    elif broken:
        advice.append(f"torch is installed but does not load ({broken}): install it again")
    elif versions["torchvision"] is None:
        advice.append("torchvision is not installed, so images cannot be read: pip install torchvision")
    transformers = versions["transformers"]
    if transformers is None or _numbers(transformers) < _TRANSFORMERS:
        state = transformers or "not installed"
        advice.append(f'transformers is {state}: pip install --upgrade "transformers>=5.15"')
    if len(devices) == 1 and shutil.which("nvidia-smi") and not broken:
        advice.append("an NVIDIA driver is installed, but torch has no CUDA: install a CUDA build of torch")
    return advice


def _torch_error() -> str | None:
    try:
        import torch  # noqa: F401  importing is the test
    except (ImportError, OSError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
