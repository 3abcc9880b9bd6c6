"""Tensor parallelism: processes that hold a part of every matrix each, and compute every token together.

transformers splits the weights (``DistributedConfig``); every process runs the same calls. What is whole in
every process can be traced and edited as always: the residual stream, the router, the tokens. Heads are not:
each process has its own.
"""

from __future__ import annotations

import os
from typing import Any

from ...errors import LabError, TooOld
from ...family.architecture import Architecture

_HOW = "torchrun --nproc-per-node 2 script.py starts two; in the script gl.load(…, tp_size=2)."


def tensor_parallel_size(model: Any) -> int:
    """Return how many processes share every matrix of a model; 1 for a whole one."""
    return int(getattr(model, "_tp_size", None) or 1)


def check_tensor_parallel(tp_size: Any, **excluded: Any) -> int:
    """Return the number of processes that share a model.

    Parameters
    ----------
    tp_size
        As passed to `gemma_lab.load`; None is 1.
    **excluded
        Options that need whole matrices, by name; None is not given.

    Raises
    ------
    LabError
        If it is no number of processes, there are not as many, or an excluded option is given.
    """
    if tp_size is None:
        return 1
    if isinstance(tp_size, bool) or not isinstance(tp_size, int) or tp_size < 1:
        raise LabError(f"tp_size={tp_size!r} is no number of processes.", hint=_HOW)
    if tp_size == 1:
        return 1
    for name, value in excluded.items():
        if value is not None:
            raise LabError(
                f"{name}={value!r:.60} and tp_size={tp_size} exclude each other: it needs whole matrices.",
                hint="Without tp_size, device_map='auto' spreads whole layers over devices.",
            )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != tp_size:
        raise LabError(f"tp_size={tp_size}, and {started} processes were started.", hint=_HOW)
    return tp_size


def require_divisible(shape: Architecture, tp_size: int, *, name: str) -> None:
    """Raise `LabError` unless every layer's heads can be divided among the processes."""
    for layer in shape.layers:
        for what, count in (("KV heads", layer.kv_heads), ("query heads", layer.heads)):
            if count % tp_size:
                raise LabError(
                    f"{name} cannot be split over {tp_size} processes: layer {layer.index} has {count} "
                    f"{what}.",
                    hint="Choose a tp_size that divides the heads of every layer, or device_map='auto'.",
                )


def loading_options(tp_size: int) -> dict[str, Any]:
    """Return the keywords of ``from_pretrained`` that split a model; none for a whole one.

    Raises
    ------
    TooOld
        If this transformers has another way.
    """
    if tp_size == 1:
        return {}
    try:
        from transformers.distributed.configuration_utils import DistributedConfig
    except ImportError:
        raise TooOld(
            "Tensor parallelism needs a newer transformers.", hint='pip install -U "transformers>=5.24"'
        ) from None
    return {"distributed_config": DistributedConfig(tp_size=tp_size)}


def own_device(device: Any) -> Any:
    """Return the device of this process: its own GPU where the choice is left to the kit."""
    import torch

    if str(device) not in ("auto", "cuda") or not torch.cuda.is_available():
        return device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"


def require_whole_heads(model: Any, what: str) -> None:
    """Raise `LabError` if a model's heads are divided among processes.

    Parameters
    ----------
    model
        Of transformers.
    what
        What needs all heads in one process, e.g. ``"Recording attention"``.
    """
    size = tensor_parallel_size(model)
    if size > 1:
        raise LabError(
            f"{what} needs all heads in one process; this model's are divided among {size}.",
            hint="Load it without tp_size (device_map='auto' spreads whole layers). Routing, logit lens, "
            "answers, and edits of experts and of the residual stream work as it is.",
        )


def same_in_all(model: Any, value: Any) -> Any:
    """Return the first process's value of something that each process drew itself, such as a seed."""
    if tensor_parallel_size(model) == 1:
        return value
    import torch.distributed as dist

    shared = [value]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
