"""`Lab`, a loaded Gemma 4 with methods to chat, trace, edit and evaluate, and `load`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .evals.fitting_methods import FittingMethods
from .evals.methods import EvalMethods
from .models.fine_tuning.methods import FineTuningMethods
from .models.tool_use.methods import ToolMethods

if TYPE_CHECKING:
    from pathlib import Path


class Lab(ToolMethods, FineTuningMethods, EvalMethods, FittingMethods):
    """A loaded Gemma 4 with methods to chat, trace, edit and evaluate.

    `gemma_lab.load` returns one; the constructor is for a model that you built or changed yourself.
    Parameters and attributes are those of `LoadedModel`.
    """


def load(
    name: str | Path | None = None,
    *,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: str | Path | None = None,
    quantization: Any = None,
    attn_implementation: str | None = None,
    adapter: str | Path | None = None,
    drafter: str | Path | None = None,
    tp_size: int | None = None,
    offline: bool | None = None,
    progress: bool = True,
) -> Lab:
    """Load a Gemma 4 and its processor.

    Parameters
    ----------
    name
        An alias (``"26b-a4b-it"``), a hub id (``"google/gemma-4-26B-A4B-it"``), a mini (``"mini-moe"``) or a
        folder. Without one: the environment variable ``GEMMA_LAB_MODEL``, else ``"mini-moe"``.
    device
        ``"auto"`` is the GPU with the most free memory, else the CPU. Otherwise a device of torch.
    dtype
        ``"auto"``: bfloat16 on a GPU that has it; elsewhere float32 if it fits comfortably, else bfloat16.
        float16 is refused: Gemma 4 overflows in it.
    device_map
        Device map of accelerate, e.g. ``"auto"`` to spread the model over GPUs and RAM. Replaces `device`.
    offload_folder
        Folder to which accelerate may offload layers that fit on no device.
    quantization
        How weights are packed while they are read: ``"int8"`` or ``"int4"``, which pack every matrix of the
        decoder, fused experts included, on every device; ``"int4-g64"`` or
        ``gl.planning.integer_weights(4, group_size=64, embeddings=8)`` for other groups and for the embedding
        tables; or a library's ``"nf4"``, ``"bnb-int8"`` (bitsandbytes) or ``"torchao-int8"``, which leave
        experts in 16 bits. A checkpoint that is packed already needs none. ``lab.bits()`` counts the result.
    attn_implementation
        ``"sdpa"`` (transformers' choice), ``"eager"`` or ``"flex_attention"``.
    adapter
        Folder of an adapter that `Adapter.save` or PEFT wrote, of this base model; ``lab.adapters`` has it.
    drafter
        A small model that proposes tokens, which this one verifies together: ``"auto"`` for its own, a name
        or a folder. `Lab.chat`, `Lab.stream` and what builds on them then need fewer passes for the same
        answer; ``lab.drafter`` is the `Drafter`, ``reply.acceptance`` what it achieved. `Lab.trace` reads
        token by token, without it.
    tp_size
        Processes that share every matrix (tensor parallelism), all started by ``torchrun`` and all making the
        same calls. Excludes `device_map`, `offload_folder`, `quantization`, `adapter` and `drafter`;
        attention is not recorded, and heads are not edited, since each process has only its own.
    offline
        Forbid downloads. Default: whether ``GEMMA_LAB_OFFLINE`` or ``HF_HUB_OFFLINE`` is set. A hub model
        that is complete in the cache is used without a request to the hub, even online.
    progress
        Show progress bars for downloads and for weights of more than 200 MB.

    Returns
    -------
    Lab

    Raises
    ------
    UnknownModel
        If no model has this name.
    NotGemma4
        If the checkpoint is of another architecture, or a variant that cannot chat, such as a drafter.
    DoesNotFit
        If there is too little free memory, before anything is loaded; the message has the numbers.
    NotAvailable
        If the model is not on this machine, and downloads are impossible or forbidden.
    BadCheckpoint
        If its files are corrupt, incomplete or unsafe, or leave a weight of the model unset.
    BadDrafter
        If the drafter is of another model.
    TooOld, MissingExtra
        If a library must be upgraded or installed first.
    LabError
        If a quantisation, a dtype or a device does not exist, or not on this machine.

    Warns
    -----
    UserWarning
        If the quantisation left a fifth of the weights or more in 16 bits.
    """
    from .models.loading.load import load
    from .models.loading.tensor_parallel import check_tensor_parallel

    processes = check_tensor_parallel(
        tp_size, device_map=device_map, offload_folder=offload_folder, quantization=quantization,
        adapter=adapter, drafter=drafter,
    )  # fmt: skip
    if adapter is not None:  # a wrong folder should not cost a download
        from .models.fine_tuning.adapter_files import require_adapter

        require_adapter(adapter)
    if drafter is not None:
        from .models.drafting.load import find_drafter, load_drafter

        drafter_files = find_drafter(drafter, name, offline=offline)
    loaded = load(
        name,
        device=device,
        dtype=dtype,
        device_map=device_map,
        offload_folder=offload_folder,
        quantization=quantization,
        attn_implementation=attn_implementation,
        tp_size=processes,
        offline=offline,
        progress=progress,
    )
    lab = Lab(model=loaded.model, processor=loaded.processor, name=loaded.name, checkpoint=loaded.checkpoint)
    if drafter is not None:
        lab.drafter = load_drafter(drafter_files, lab)
    if adapter is not None:
        lab.adapters.load(adapter)
    return lab
