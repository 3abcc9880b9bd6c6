"""Load a `LoadedModel` by name; everything that can be checked is checked before the weights are read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ...errors import BadCheckpoint, DoesNotFit, LabError
from ...family.architecture import Architecture, from_config, get_architecture
from ...family.parameters import count_parameters
from ...planning.local import working_bytes
from ...system.hardware import amount, free_ram
from ...system.out_of_memory import is_out_of_memory
from ...system.report import offline as offline_by_environment
from ..quantization.checkpoint_formats import checkpoint_format
from ..quantization.methods import LoadMethod, load_method
from ..quantization.weight_bits import warn_of_weights_left
from .checkpoint_files import FLOATING, CheckpointFiles, read_checkpoint, read_config
from .configuration import check_configuration
from .generation_defaults import check_generation_config
from .loaded_model import LoadedModel
from .meta_model import build_meta_model
from .model_classes import require_gemma4, require_loadable
from .placement import Footprint, Placement, parse_dtype, plan_placement
from .progress import progress_bars
from .resolve import Location, download, fetch_config, hub_weight_bytes, locate
from .tensor_parallel import loading_options, own_device, require_divisible
from .verify_weights import check_shapes, verify_weights

_SHOWN_FROM = 200_000_000  # bytes; smaller models load within about a second, without a progress bar


def load(
    name: str | Path | None = None,
    *,
    device: Any = "auto",
    dtype: Any = "auto",
    device_map: Any = None,
    offload_folder: str | Path | None = None,
    quantization: Any = None,
    attn_implementation: str | None = None,
    tp_size: int = 1,
    offline: bool | None = None,
    progress: bool = True,
) -> LoadedModel:
    """Load a Gemma 4 and its processor; `gemma_lab.load` documents the parameters and the errors."""
    parse_dtype(dtype)  # a wrong dtype, or quantisation, should not cost a download
    method = load_method(quantization)
    location = locate(name)
    offline = offline_by_environment() if offline is None else offline
    with progress_bars(progress):
        files, placement = _prepare(
            location,
            offline,
            method,
            device=own_device(device) if tp_size > 1 else device,
            dtype=dtype,
            device_map=device_map,
            offload_folder=offload_folder,
            tp_size=tp_size,
        )
    with progress_bars(progress and files.weight_bytes(2) >= _SHOWN_FROM):
        processor = _processor(files)
        model = _model(
            files,
            location,
            placement,
            method,
            attn_implementation=attn_implementation,
            offload_folder=offload_folder,
            tp_size=tp_size,
        )
    warn_of_weights_left(model, location.name)
    return LoadedModel(model=model, processor=processor, name=location.name, checkpoint=location.checkpoint)


def _prepare(
    location: Location, offline: bool, method: LoadMethod | None, *, tp_size: int = 1, **options: Any
) -> tuple[CheckpointFiles, Placement]:
    """Check a model's files and choose its device, cheapest checks first; weights are not read."""
    name, checkpoint = location.name, location.checkpoint
    if checkpoint is not None:
        require_loadable(checkpoint, method)
        # the catalog knows its size: too little memory shows without a download
        if checkpoint.weight_bytes and checkpoint.path is None:
            shape = get_architecture(checkpoint.size)
            weights = _whole(shape) if method is None else _by_part(shape, method)
            _place(Footprint(weights, _working(shape)), shape, method, name=name, **options)
    files = _on_disk(location, offline)
    if files is None:
        folder = fetch_config(location)
        config = read_config(folder)
        require_gemma4(config, name=name, checkpoint=checkpoint, method=method)
        check_configuration(config, folder)
        size, shape = hub_weight_bytes(location), from_config(config)
        weights = size if method is None else _by_part(shape, method)
        _place(Footprint(weights, _working(shape)), shape, method, name=name, **options)
        _require_disk(location, size(2))
        files = read_checkpoint(download(location, offline=False))
    class_name = require_gemma4(files.config, name=name, checkpoint=checkpoint, method=method)
    check_configuration(files.config, files.folder)
    check_generation_config(files)
    if checkpoint_format(files.config) is None:
        check_shapes(build_meta_model(files.config, class_name, name=name), files)
    shape = from_config(files.config)
    require_divisible(shape, tp_size, name=name)
    footprint = _footprint(files, method)
    if tp_size > 1:  # what every process holds whole is the smaller part
        whole = footprint.weights
        footprint = Footprint(lambda item: whole(item) // tp_size, footprint.beside)
    return files, _place(footprint, shape, method, name=name, **options)


def _place(
    footprint: Footprint, shape: Architecture, method: LoadMethod | None, *, name: str, **options: Any
) -> Placement:
    """Choose device and dtype, and check that the model fits and that its quantisation runs there."""
    if method is not None:
        placement = plan_placement(footprint, name=f"{name} in {method.name}", **options)
        method.require(torch.device(placement.device).type)
        return placement
    try:
        return plan_placement(footprint, name=name, **options)
    except DoesNotFit as error:
        lighter = _lighter(footprint, shape, name, options)
        raise DoesNotFit(error.what, hint=f"{lighter}{error.hint}") from error


def _lighter(footprint: Footprint, shape: Architecture, name: str, options: dict[str, Any]) -> str:
    """Return a hint that names the packing with most bits that fits, or an empty one."""
    for packing in ("int8", "int4"):
        method = load_method(packing)
        if method is None:
            continue
        weights = _by_part(shape, method)
        try:
            placement = plan_placement(Footprint(weights, footprint.beside), name=name, **options)
        except DoesNotFit:
            continue
        return (
            f'quantization="{packing}" has {amount(weights(placement.dtype.itemsize))} of weights and fits; '
        )
    return ""


def _footprint(files: CheckpointFiles, method: LoadMethod | None) -> Footprint:
    """Return the memory that a checkpoint takes, exactly, from the headers of its files."""
    working = _working(from_config(files.config))
    if method is None:
        settings = checkpoint_format(files.config)
        if settings is not None and settings.dequantizes:
            return Footprint(_whole(from_config(files.config)), working)
        return Footprint(files.weight_bytes, working)
    floats = {name: tensor.shape for name, tensor in files.tensors.items() if tensor.dtype in FLOATING}

    def weights(item: int) -> int:
        packed = sum(method.held_bytes(name, shape, item) for name, shape in floats.items())
        whole = sum(tensor.bytes for name, tensor in files.tensors.items() if name not in floats)
        return round(packed) + whole

    def beside(item: int, kind: str) -> int:
        calls = (method.call_bytes(name, shape, item) for name, shape in floats.items())
        return working(item, kind) + max(calls, default=0)

    return Footprint(weights, beside)


def _by_part(shape: Architecture, method: LoadMethod) -> Callable[[int], int]:
    counts = count_parameters(shape).parts
    return lambda item: round(sum(method.part_bytes(counts, item).values()))


def _working(model: Architecture) -> Callable[[int, str], int]:
    """Return a function from bytes per number and kind of device to the working memory of a model."""
    return lambda item, kind: working_bytes(model, kind=kind, value_bytes=item)


def _whole(shape: Architecture) -> Callable[[int], int]:
    """Return the bytes of a model that is not packed, also where its checkpoint is but becomes so."""
    total = count_parameters(shape).total
    return lambda item: total * item


def _on_disk(location: Location, offline: bool) -> CheckpointFiles | None:
    """Return the files of a folder, or of a complete copy in the hub's cache; None if there is none."""
    if location.folder is not None:
        require_gemma4(read_config(location.folder), name=location.name, checkpoint=location.checkpoint)
        return read_checkpoint(location.folder)
    try:
        return read_checkpoint(download(location, offline=True))
    except LabError:  # not in the cache, or only in part
        if offline:
            raise
        return None


def _require_disk(location: Location, needed: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise DoesNotFit(
            f"{location.hub_id} is a download of {amount(needed)}; "
            f"{amount(free)} of disk are free at {cache}.",
            hint="Free disk space, or set HF_HOME to a folder on a larger disk.",
        )


def _processor(files: CheckpointFiles) -> Any:
    from transformers import AutoProcessor, AutoTokenizer

    text_only = files.model_type.endswith("_text")
    kind = AutoTokenizer if text_only else AutoProcessor
    try:
        processor = kind.from_pretrained(files.folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of the many files that a processor reads
        raise BadCheckpoint(
            f"The {'tokenizer' if text_only else 'processor'} in {files.folder} cannot be loaded: {error}",
            hint="It needs tokenizer.json, tokenizer_config.json, and for images processor_config.json.",
        ) from error
    _require_same_tokens(files, processor)
    return processor


def _require_same_tokens(files: CheckpointFiles, processor: Any) -> None:
    """Raise `BadCheckpoint` if tokenizer and weights are of different models: ids would not match."""
    tokenizer = getattr(processor, "tokenizer", None) or processor
    rows = files.config.get("text_config", files.config).get("vocab_size")
    if rows is not None and len(tokenizer) > rows:
        raise BadCheckpoint(
            f"The tokenizer in {files.folder} has {len(tokenizer):,} tokens; the model has {rows:,}.",
            hint="The tokenizer belongs to another model: take the one that came with the weights.",
        )
    for medium in ("image", "audio", "video"):
        marked, expected = (
            getattr(processor, f"{medium}_token_id", None),
            files.config.get(f"{medium}_token_id"),
        )
        if files.config.get("vision_config") and None not in (marked, expected) and marked != expected:
            raise BadCheckpoint(
                f"The processor in {files.folder} marks {medium} with token {marked}, "
                f"the model with {expected}.",
                hint="The processor belongs to another model: take the one that came with the weights.",
            )


def _model(
    files: CheckpointFiles,
    location: Location,
    placement: Placement,
    method: LoadMethod | None,
    *,
    attn_implementation: str | None,
    offload_folder: str | Path | None,
    tp_size: int = 1,
) -> Any:
    import transformers

    class_name = require_gemma4(
        files.config, name=location.name, checkpoint=location.checkpoint, method=method
    )
    options = _options(files, placement, method, tp_size=tp_size)
    if attn_implementation:
        options["attn_implementation"] = attn_implementation
    if offload_folder is not None:
        options["offload_folder"] = str(offload_folder)
    try:
        model, info = getattr(transformers, class_name).from_pretrained(
            files.folder,
            dtype=placement.dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused below by name
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers, accelerate, safetensors and torch raise many types
        raise _no_model(
            error, files, location, placement, method, offloads=offload_folder is not None
        ) from error
    verify_weights(model, info, files)
    return model


def _options(
    files: CheckpointFiles, placement: Placement, method: LoadMethod | None, *, tp_size: int
) -> dict[str, Any]:
    """Return keywords of ``from_pretrained``: where the weights go, and in which format."""
    import transformers

    options: dict[str, Any] = {"device_map": placement.device_map}
    if method is not None:
        method.check_shapes({name: tensor.shape for name, tensor in files.tensors.items()}, placement.device)
        options["quantization_config"] = method.config(placement.dtype)
        if placement.device_map is None:  # the libraries would choose a GPU themselves
            options["device_map"] = {"": placement.device}
    settings = checkpoint_format(files.config)
    if settings is not None and settings.dequantizes:
        # at once: by itself it would happen in the first run, and the memory would not be counted until then
        config = transformers.AutoConfig.from_pretrained(files.folder, local_files_only=True)
        config.quantization_config = {**files.config["quantization_config"], "dequantize": True}
        options["config"] = config
    if tp_size > 1:
        options |= loading_options(tp_size)
        options["device_map"] = None  # transformers gives each process its own device
    if placement.max_memory is not None:
        options["max_memory"] = placement.max_memory
    return options


def _no_model(
    error: Exception,
    files: CheckpointFiles,
    location: Location,
    placement: Placement,
    method: LoadMethod | None,
    *,
    offloads: bool,
) -> LabError:
    """Return what an error of ``from_pretrained`` means for the person who loads the model."""
    from safetensors import SafetensorError

    if is_out_of_memory(error):
        return _ran_out(files, location, placement, method)
    if isinstance(error, SafetensorError | OSError):
        return BadCheckpoint(
            f"The weights in {files.folder} cannot be read: {error}", hint="Download or copy them again."
        )
    if method is not None and offloads:
        return LabError(
            f"{location.name} in {method.name} cannot lie on disk in part: {error}",
            hint="Layers on disk need floating-point weights: leave out quantization, or offload_folder.",
        )
    # an attention that is not installed, a device map that does not work out
    return LabError(
        f"transformers cannot load {location.name} this way: {error}",
        hint="Check attn_implementation and device_map; a map names each module once, or is 'auto'.",
    )


def _ran_out(
    files: CheckpointFiles, location: Location, placement: Placement, method: LoadMethod | None
) -> DoesNotFit:
    needed = _footprint(files, method).weights(placement.dtype.itemsize)
    return DoesNotFit(
        f"Memory ran out while {location.name} was loaded on {placement.device}: its weights are "
        f"{amount(needed)} in {str(placement.dtype)[6:]}; {amount(free_ram())} of RAM are free.",
        hint="Close other programs or raise the limit (ulimit -v, the container's memory), load it with "
        'dtype="bfloat16", or choose a smaller model: gemma-lab doctor lists which fit here.',
    )
