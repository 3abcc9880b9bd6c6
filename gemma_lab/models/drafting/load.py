"""Find, check and load the drafter of a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...checks import short_repr
from ...errors import BadCheckpoint, BadDrafter, DoesNotFit, LabError, NotAvailable
from ...family.catalog import catalog
from ...system import hardware
from ...system.hardware import amount, free_ram
from ...system.report import offline as offline_by_environment
from ..loading.checkpoint_files import CheckpointFiles, read_checkpoint
from ..loading.meta_model import build_meta_model
from ..loading.model_classes import require_transformers
from ..loading.progress import progress_bars
from ..loading.resolve import download, locate
from ..loading.verify_weights import check_shapes, verify_weights
from .drafter import MAX_DRAFT_TOKENS, Drafter

if TYPE_CHECKING:
    from ..loading.loaded_model import LoadedModel
    from ..loading.resolve import Location

#: model_type of config.json -> class in transformers
CLASSES = {
    "gemma4_assistant": "Gemma4AssistantForCausalLM",
    "gemma4_unified_assistant": "Gemma4UnifiedAssistantForCausalLM",
}
_SINCE = "5.20"  # of transformers: candidate generators without a generation of their own
_DRAFT_TOKENS = 4  # where the drafter's generation config says nothing else
_UNSAID = 20  # transformers' default of that setting
_SUFFIX = "-assistant"
_HINT = "Pass the model's own drafter: gl.catalog(variant='assistant') lists the family's."


@dataclass(frozen=True)
class DrafterFiles:
    """A drafter on disk whose files are consistent."""

    name: str
    files: CheckpointFiles
    class_name: str


def find_drafter(drafter: Any, base: Any, *, offline: bool | None = None) -> DrafterFiles:
    """Return the files of a drafter, downloading them if they are on the hub only.

    Parameters
    ----------
    drafter
        ``"auto"`` for the drafter of the model, an alias, a hub id or a folder.
    base
        The name that the model is loaded by.
    offline
        As for `gemma_lab.load`.

    Raises
    ------
    NotAvailable
        If the model has no drafter that is known, or it is not on this machine and cannot be downloaded.
    UnknownModel
        If there is no model of this name.
    BadDrafter
        If it is no drafter.
    BadCheckpoint
        If files are missing, corrupt or unsafe.
    """
    if not isinstance(drafter, str | Path):
        raise LabError(
            f"drafter={short_repr(drafter)} names no drafter.",
            hint='Pass "auto", an alias, a hub id or a folder; leave it out for none.',
        )
    location = _own_drafter(base) if drafter == "auto" else locate(drafter)
    offline = offline_by_environment() if offline is None else offline
    folder = location.folder or download(location, offline=offline)
    files = read_checkpoint(folder)
    if files.model_type not in CLASSES:
        raise BadDrafter(
            f"{location.name} is no drafter: its architecture is {short_repr(files.model_type)}.", hint=_HINT
        )
    require_transformers(_SINCE, name=location.name)
    class_name = CLASSES[files.model_type]
    check_shapes(build_meta_model(files.config, class_name, name=location.name), files)
    return DrafterFiles(location.name, files, class_name)


def _own_drafter(base: Any) -> Location:
    """Return where the drafter of a model is: in the catalog, or beside its folder."""
    model = locate(base)
    checkpoint = model.checkpoint
    if checkpoint is not None and checkpoint.variant != "pt":
        for known in catalog(variant="assistant"):
            if known.size == checkpoint.size:
                return locate(known.alias)
    if model.folder is not None:
        beside = model.folder.with_name(model.folder.name + _SUFFIX)
        if beside.is_dir():
            return locate(beside)
    raise NotAvailable(
        f"No drafter of {model.name} is known.",
        hint=f"Pass its name or folder: drafter=…; a folder {model.name}{_SUFFIX} beside the model is found.",
    )


def load_drafter(found: DrafterFiles, base: LoadedModel) -> Drafter:
    """Load a drafter beside its model, in the model's dtype and on its device.

    Raises
    ------
    BadDrafter
        If it drafts for a model of another vocabulary or shape.
    DoesNotFit
        If its weights take more than the memory that is free beside the model.
    """
    import torch
    import transformers

    check_fits(found, base)
    dtype = base.dtype if base.dtype in (torch.float32, torch.bfloat16, torch.float64) else torch.bfloat16
    needed = found.files.weight_bytes(dtype.itemsize)
    device = base.device
    free = next((each.free for each in hardware.devices() if each.name == str(device)), free_ram())
    if needed > free:
        raise DoesNotFit(
            f"The drafter {found.name} takes {amount(needed)} beside {base.name}; {amount(free)} are free on "
            f"{device}.",
            hint="Leave drafter out, or load the model in bfloat16 or quantised.",
        )
    try:
        with progress_bars(False):  # a drafter is small beside its model
            model, info = getattr(transformers, found.class_name).from_pretrained(
                found.files.folder,
                dtype=dtype,
                trust_remote_code=False,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers, safetensors and torch raise many types
        raise BadCheckpoint(
            f"The drafter in {found.files.folder} cannot be loaded: {error}", hint="Download it again."
        ) from error
    verify_weights(model, info, found.files)
    model = model.to(device).eval()
    said = getattr(model.generation_config, "num_assistant_tokens", None)
    usable = isinstance(said, int) and 1 <= said <= MAX_DRAFT_TOKENS and said != _UNSAID
    return Drafter(model=model, name=found.name, tokens=said if usable and said else _DRAFT_TOKENS)


def check_fits(found: DrafterFiles, base: LoadedModel) -> None:
    """Raise `BadDrafter` unless a drafter reads what a model computes."""
    text = _text(found)
    for what, needed, given in (
        ("a vocabulary of", text.get("vocab_size"), base.vocabulary),
        (
            "hidden states of width",
            found.files.config.get("backbone_hidden_size"),
            base.text_config.hidden_size,
        ),
    ):
        if needed != given:
            raise BadDrafter(
                f"The drafter {found.name} reads {what} {needed:,}; {base.name} has {given:,}.", hint=_HINT
            )
    base_kinds, drafter_kinds = _kinds(base.text_config), _kinds(_settings(found))
    for kind, (heads, width) in drafter_kinds.items():
        if base_kinds.get(kind) != (heads, width):
            given = base_kinds.get(kind)
            has = "none" if given is None else f"{given[0]} of width {given[1]}"
            raise BadDrafter(
                f"The drafter {found.name} reads {heads} key-value heads of width {width} in "
                f"{kind.replace('_', ' ')}; {base.name} has {has}.",
                hint=_HINT,
            )
    _check_tokens(found, base)


def _check_tokens(found: DrafterFiles, base: LoadedModel) -> None:
    """Raise `BadDrafter` if a drafter came with a tokenizer that has other ids than the model's."""
    path = found.files.folder / "tokenizer.json"
    if not path.is_file():
        return
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
        ids = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise BadCheckpoint(
            f"{path} is no tokenizer: {error}.", hint="Download the drafter again."
        ) from error
    known = base.tokenizer.get_vocab()
    other = sum(known.get(token) != index for token, index in ids.items())
    if other:
        raise BadDrafter(
            f"The drafter {found.name} has other ids than {base.name} for {other:,} of {len(ids):,} tokens.",
            hint=_HINT,
        )


def _text(found: DrafterFiles) -> dict[str, Any]:
    text = found.files.config.get("text_config")
    return text if isinstance(text, dict) else {}


def _settings(found: DrafterFiles) -> Any:
    """Return the decoder's configuration as transformers reads it."""
    import transformers

    settings = getattr(transformers, found.class_name).config_class.from_dict(dict(found.files.config))
    return settings.get_text_config()


def _kinds(text: Any) -> dict[str, tuple[int, int]]:
    """Return kind of layer -> key-value heads and width of the last layer of that kind."""
    return {
        kind: (text.per_layer_config[index].num_key_value_heads, text.per_layer_config[index].head_dim)
        for index, kind in enumerate(text.layer_types)
    }
