"""Load a `LoadedModel` by name; everything that can be checked is checked before the weights are read."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import BadCheckpoint, DoesNotFit, LabError
from ...family.architecture import Architecture, from_config, get_architecture
from ...planning.local import working_bytes
from ...system.hardware import amount, free_ram
from ...system.out_of_memory import is_out_of_memory
from ...system.report import offline as offline_by_environment
from .checkpoint_files import CheckpointFiles, read_checkpoint, read_config
from .configuration import check_configuration
from .generation_defaults import check_generation_config
from .loaded_model import LoadedModel
from .meta_model import build_meta_model
from .model_classes import require_gemma4, require_loadable
from .placement import Footprint, Placement, parse_dtype, plan_placement
from .resolve import Location, download, fetch_config, hub_weight_bytes, locate
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
    offline: bool | None = None,
    progress: bool = True,
) -> LoadedModel:
    """Load a Gemma 4 and its processor; `gemma_lab.load` documents the parameters and the errors."""
    if quantization is not None:
        raise LabError(
            f"quantization={quantization!r}: quantised loading is not in this version yet.",
            hint="Leave quantization out; for less memory choose a smaller model (gl.catalog()).",
        )
    parse_dtype(dtype)  # a wrong dtype should not cost a download
    location = locate(name)
    offline = offline_by_environment() if offline is None else offline
    with _progress(progress):
        files, placement = _prepare(
            location,
            offline,
            device=device,
            dtype=dtype,
            device_map=device_map,
            offload_folder=offload_folder,
        )
    with _progress(progress and files.weight_bytes(2) >= _SHOWN_FROM):
        processor = _processor(files)
        model = _model(
            files, location, placement, attn_implementation=attn_implementation, offload_folder=offload_folder
        )
    return LoadedModel(model=model, processor=processor, name=location.name, checkpoint=location.checkpoint)


def _prepare(location: Location, offline: bool, **options: Any) -> tuple[CheckpointFiles, Placement]:
    """Check a model's files and choose its device, cheapest checks first; weights are not read."""
    name, checkpoint = location.name, location.checkpoint
    if checkpoint is not None:
        require_loadable(checkpoint)
        if checkpoint.weight_bytes:  # the catalog knows its size: too little memory shows without a download
            working = _working(get_architecture(checkpoint.size)) if checkpoint.path is None else None
            if working is not None:
                plan_placement(Footprint(_by_item(checkpoint.weight_bytes), working), name=name, **options)
    files = _on_disk(location, offline)
    if files is None:
        folder = fetch_config(location)
        config = read_config(folder)
        require_gemma4(config, name=name, checkpoint=checkpoint)
        check_configuration(config, folder)
        size = hub_weight_bytes(location)
        plan_placement(Footprint(size, _working(from_config(config))), name=name, **options)
        _require_disk(location, size(2))
        files = read_checkpoint(download(location, offline=False))
    class_name = require_gemma4(files.config, name=name, checkpoint=checkpoint)
    check_configuration(files.config, files.folder)
    check_generation_config(files)
    check_shapes(build_meta_model(files.config, class_name, name=name), files)
    footprint = Footprint(files.weight_bytes, _working(from_config(files.config)))
    return files, plan_placement(footprint, name=name, **options)


def _working(model: Architecture) -> Callable[[int, str], int]:
    """Return a function from bytes per number and kind of device to the working memory of a model."""
    return lambda item, kind: working_bytes(model, kind=kind, value_bytes=item)


def _by_item(sizes: Mapping[str, int]) -> Callable[[int], int]:
    return lambda item: sizes["bf16"] * item // 2


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
        theirs, ours = getattr(processor, f"{medium}_token_id", None), files.config.get(f"{medium}_token_id")
        if files.config.get("vision_config") and None not in (theirs, ours) and theirs != ours:
            raise BadCheckpoint(
                f"The processor in {files.folder} marks {medium} with token {theirs}, the model with {ours}.",
                hint="The processor belongs to another model: take the one that came with the weights.",
            )


def _model(
    files: CheckpointFiles,
    location: Location,
    placement: Placement,
    *,
    attn_implementation: str | None,
    offload_folder: str | Path | None,
) -> Any:
    import transformers
    from safetensors import SafetensorError

    class_name = require_gemma4(files.config, name=location.name, checkpoint=location.checkpoint)
    options: dict[str, Any] = {"attn_implementation": attn_implementation} if attn_implementation else {}
    if offload_folder is not None:
        options["offload_folder"] = str(offload_folder)
    if placement.max_memory is not None:
        options["max_memory"] = placement.max_memory
    try:
        model, info = getattr(transformers, class_name).from_pretrained(
            files.folder,
            dtype=placement.dtype,
            device_map=placement.device_map,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused below by name
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # transformers, accelerate, safetensors and torch raise many types
        if is_out_of_memory(error):
            raise _ran_out(files, location, placement) from error
        if isinstance(error, SafetensorError | OSError):
            raise BadCheckpoint(
                f"The weights in {files.folder} cannot be read: {error}", hint="Download or copy them again."
            ) from error
        # an attention that is not installed, a device map that does not work out
        raise LabError(
            f"transformers cannot load {location.name} this way: {error}",
            hint="Check attn_implementation and device_map; a map names each module once, or is 'auto'.",
        ) from error
    verify_weights(model, info, files)
    return model


def _ran_out(files: CheckpointFiles, location: Location, placement: Placement) -> DoesNotFit:
    needed = files.weight_bytes(placement.dtype.itemsize)
    return DoesNotFit(
        f"Memory ran out while {location.name} was loaded on {placement.device}: its weights are "
        f"{amount(needed)} in {str(placement.dtype)[6:]}; {amount(free_ram())} of RAM are free.",
        hint="Close other programs or raise the limit (ulimit -v, the container's memory), load it with "
        'dtype="bfloat16", or choose a smaller model: gemma-lab doctor lists which fit here.',
    )


@contextlib.contextmanager
def _progress(shown: bool) -> Iterator[None]:
    """Hide the progress bars of transformers and huggingface_hub within a block, if `shown` is false."""
    import huggingface_hub.utils
    import transformers.utils.logging

    hub: Any = huggingface_hub.utils
    bars: Any = transformers.utils.logging
    hub_was, bars_were = not hub.are_progress_bars_disabled(), bars.is_progress_bar_enabled()
    if not shown:
        hub.disable_progress_bars()
        bars.disable_progress_bar()
    try:
        yield
    finally:
        # transformers' switch turns the hub's too, so each is put back as it was, the hub's last
        if not shown and bars_were:
            bars.enable_progress_bar()
        if not shown and hub_was:
            hub.enable_progress_bars()
        elif not shown:
            hub.disable_progress_bars()
