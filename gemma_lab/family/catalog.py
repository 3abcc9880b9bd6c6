"""The catalog: every checkpoint of the family and the minis of this package, with sources."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, overload

from ..assets import data_root
from ..display import Displayed
from ..errors import LabError
from ..units import gib, parameters
from .architecture import from_config, get_architecture
from .memory import all_weight_bytes
from .parameters import count_parameters
from .sources import Source, read_data, source

_PREFIX = "google/gemma-4-"
_DRAFTING = "5.20.0"  # of transformers: what `gemma_lab.models.drafting` needs


@dataclass(frozen=True)
class Checkpoint(Displayed):
    """A checkpoint: its location, its shape and its size.

    Attributes
    ----------
    alias
        Short name, lower case: ``"26b-a4b-it"``, ``"mini-moe"``.
    hub_id
        Repository on the Hugging Face hub, its case exact; None for a mini.
    path
        Folder below the shipped data; None for a hub checkpoint.
    size
        ``"E2B"``, ``"E4B"``, ``"12B"``, ``"26B-A4B"``, ``"31B"``, or the mini's name.
    variant
        ``"pt"`` (pre-trained), ``"it"`` (instruction-tuned), ``"assistant"`` (drafter), ``"qat-…"`` or
        ``"mini"``.
    format
        ``"safetensors"``, ``"compressed-tensors"`` or ``"gguf"``.
    model_type
        As in its configuration.
    modalities
        Input modalities, of ``text``, ``image``, ``video`` and ``audio``.
    context
        Longest context in tokens.
    layers, layer_types
        Decoder layers, and how many are ``"local"`` and ``"global"``.
    experts, top_k
        Experts per layer, and experts per token; None without experts.
    min_transformers
        First release of transformers found to run it correctly.
    parameters
        Number of parameters; None where no exact figure is known.
    weight_bytes
        Format → bytes of the weights. Computed for plain checkpoints, published (and then rounded) for packed
        ones.
    released
        Date of release, ISO.
    sources
        Sources of the entry.
    notes
        Further remarks.
    """

    alias: str
    hub_id: str | None
    path: str | None
    size: str
    variant: str
    format: str
    model_type: str
    modalities: tuple[str, ...]
    context: int
    layers: int
    layer_types: Mapping[str, int] = field(hash=False)
    experts: int | None
    top_k: int | None
    min_transformers: str
    parameters: int | None
    weight_bytes: Mapping[str, int] = field(hash=False)
    released: str
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        experts = f", {self.experts} experts top-{self.top_k}" if self.experts else ""
        return (
            f"Checkpoint({self.alias}: {format_parameters(self)} parameters, {self.layers} layers{experts}, "
            f"{'+'.join(self.modalities)}, context {self.context:,} tokens, {format_weights(self)})"
        )

    @property
    def standalone(self) -> bool:
        """True if it can be loaded by itself: not a drafter, not packed weights, not GGUF."""
        return self.variant != "assistant" and self.format == "safetensors"

    @property
    def third_party(self) -> bool:
        """True if neither Google nor published code is a source for it."""
        return all(where.kind == "third-party" for where in self.sources)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            **plain,
            "modalities": list(self.modalities),
            "layer_types": dict(self.layer_types),
            "weight_bytes": dict(self.weight_bytes),
            "sources": [
                {"title": where.title, "url": where.url, "kind": where.kind} for where in self.sources
            ],
            "notes": list(self.notes),
        }


class Catalog(Displayed, Sequence[Checkpoint]):
    """A sequence of checkpoints, minis first, then by size; an index is a number, a slice or an alias."""

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        self._checkpoints = tuple(checkpoints)

    @overload
    def __getitem__(self, index: int | str) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> Catalog: ...
    def __getitem__(self, index: int | slice | str) -> Checkpoint | Catalog:
        if isinstance(index, str):
            return _named(self, index) or self._missing(index)
        found = self._checkpoints[index]
        return found if isinstance(found, Checkpoint) else Catalog(found)

    def _missing(self, name: str) -> NoReturn:
        known = [checkpoint.alias for checkpoint in self]
        near = [alias for alias in suggest(name) if alias in known]
        raise LabError(
            f"There is no checkpoint {name!r} among these {len(self)}.",
            hint=f"Similar: {', '.join(near)}." if near else "list(catalog) shows all of them.",
        )

    def __len__(self) -> int:
        return len(self._checkpoints)

    def __iter__(self) -> Iterator[Checkpoint]:
        return iter(self._checkpoints)

    def __repr__(self) -> str:
        kinds = {"mini": 0, "pt": 0, "it": 0, "assistant": 0, "qat": 0}
        for checkpoint in self:
            kinds[checkpoint.variant.split("-")[0]] += 1
        words = {"pt": "pre-trained", "it": "instruction-tuned", "assistant": "drafters", "qat": "QAT"}
        parts = ", ".join(f"{number} {words.get(kind, kind)}" for kind, number in kinds.items() if number)
        return f"Catalog({len(self)} checkpoints{': ' + parts if parts else ''})"

    def to_dict(self) -> dict[str, Any]:
        """Return the entries as plain data."""
        return {"checkpoints": [checkpoint.to_dict() for checkpoint in self]}


def catalog(
    *,
    size: str | None = None,
    variant: str | None = None,
    modality: str | None = None,
    file_format: str | None = None,
    standalone: bool | None = None,
) -> Catalog:
    """Return the checkpoints of the family that match every filter.

    Parameters
    ----------
    size
        E.g. ``"12B"``; the case does not matter.
    variant
        ``"pt"``, ``"it"``, ``"assistant"``, ``"mini"``, or ``"qat"`` for all kinds of it.
    modality
        ``"text"``, ``"image"``, ``"video"`` or ``"audio"``: only checkpoints with this input.
    file_format
        ``"safetensors"``, ``"compressed-tensors"`` or ``"gguf"``.
    standalone
        True for checkpoints that can be loaded by themselves (see `Checkpoint.standalone`), False for the
        others.
    """

    def fits(checkpoint: Checkpoint) -> bool:
        return (
            (size is None or checkpoint.size.lower() == size.lower())
            and (variant is None or variant in (checkpoint.variant, checkpoint.variant.split("-")[0]))
            and (modality is None or modality in checkpoint.modalities)
            and (file_format is None or checkpoint.format == file_format)
            and (standalone is None or checkpoint.standalone == standalone)
        )

    return Catalog(checkpoint for checkpoint in (*_minis(), *_published()) if fits(checkpoint))


def find(name: str) -> Checkpoint | None:
    """Return the checkpoint of this alias, hub id or mini name, or None. The case does not matter."""
    return _named(catalog(), name)


def _named(checkpoints: Iterable[Checkpoint], name: str) -> Checkpoint | None:
    wanted = name.strip().lower()
    for checkpoint in checkpoints:
        if wanted and wanted in (checkpoint.alias, (checkpoint.hub_id or "").lower()):
            return checkpoint
    return None


def suggest(name: str, *, count: int = 3) -> list[str]:
    """Return up to `count` known names that are similar to an unknown one, best first.

    Aliases; hub ids for a name with “/”.
    """
    known = catalog()
    names = [c.hub_id for c in known if c.hub_id] if "/" in name else [c.alias for c in known]
    lowered = {known_name.lower(): known_name for known_name in names}
    wanted = name.strip().lower()
    shortened = wanted.removeprefix("gemma-4-").removeprefix("gemma4-")
    wanted = wanted if "/" in name else shortened
    found = [known_name for known_name in lowered if wanted and known_name.startswith(wanted)]
    found += get_close_matches(wanted, lowered, n=count, cutoff=0.55)
    return [lowered[match] for match in dict.fromkeys(found)][:count]


@cache
def _published() -> tuple[Checkpoint, ...]:
    data = read_data("checkpoints.json")
    return tuple(_checkpoint(row, data["sizes"][row["size"]]) for row in data["checkpoints"])


def _checkpoint(row: Mapping[str, Any], size: Mapping[str, Any]) -> Checkpoint:
    """Join one row of ``checkpoints.json`` with its size's entry and architecture."""
    shape = get_architecture(row["size"])
    drafter = row["variant"] == "assistant"
    kinds = row["layer_types"] if drafter else shape.kinds
    plain = not drafter and row.get("format", "safetensors") == "safetensors"
    return Checkpoint(
        alias=row["hub_id"].removeprefix(_PREFIX).lower(),
        hub_id=row["hub_id"],
        path=None,
        size=row["size"],
        variant=row["variant"],
        format=row.get("format", "safetensors"),
        model_type=row.get("model_type", shape.model_type),
        modalities=("text",) if drafter else shape.modalities,
        context=shape.context,
        layers=sum(kinds.values()),
        layer_types=MappingProxyType(dict(kinds)),
        experts=None if drafter else shape.experts or None,
        top_k=None if drafter else shape.top_k or None,
        min_transformers=_DRAFTING if drafter else row.get("min_transformers", size["min_transformers"]),
        parameters=row.get("parameters") if drafter else count_parameters(shape).total,
        weight_bytes=MappingProxyType(all_weight_bytes(shape) if plain else row.get("weight_bytes", {})),
        released=row.get("released", size["released"]),
        sources=tuple(source(key) for key in (*row["sources"], *size["sources"])),
        notes=(*size.get("notes", ()), *row.get("notes", ())),
    )


def _minis() -> tuple[Checkpoint, ...]:
    """Return the minis whose data are installed; loading another one raises an error."""
    try:
        root = data_root()
    except LabError:
        return ()
    folders = sorted(path.parent for path in (root / "minis").glob("*/config.json"))
    return tuple(_mini_drafter(folder) if _is_drafter(folder) else _mini(folder) for folder in folders)


def _is_drafter(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(config.get("model_type", "")).endswith("_assistant")


def _mini_drafter(folder: Path) -> Checkpoint:
    """Return the entry of a mini's drafter, whose card says what it drafts for."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    text = config["text_config"]
    whole = text["layer_types"].count("full_attention")
    count, base = int(card["parameters"]), str(card["drafts_for"]["name"])
    return Checkpoint(
        alias=folder.name,
        hub_id=None,
        path=f"minis/{folder.name}",
        size=base,
        variant="assistant",
        format="safetensors",
        model_type=config["model_type"],
        modalities=("text",),
        context=int(text["max_position_embeddings"]),
        layers=len(text["layer_types"]),
        layer_types=MappingProxyType({"local": len(text["layer_types"]) - whole, "global": whole}),
        experts=None,
        top_k=None,
        min_transformers=_DRAFTING,
        parameters=count,
        weight_bytes=MappingProxyType({"bf16": 2 * count, "fp32": 4 * count}),
        released="",
        sources=(source("mini-card"),),
        notes=(f"A drafter for speculative decoding: it reads the keys and values of {base}.",),
    )


def _mini(folder: Path) -> Checkpoint:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = from_config(config, name=folder.name)
    return Checkpoint(
        alias=folder.name,
        hub_id=None,
        path=f"minis/{folder.name}",
        size=folder.name,
        variant="mini",
        format="safetensors",
        model_type=shape.model_type,
        modalities=shape.modalities,
        context=shape.context,
        layers=len(shape.layers),
        layer_types=MappingProxyType(shape.kinds),
        experts=shape.experts or None,
        top_k=shape.top_k or None,
        # its configuration is saved with per_layer_config, which 5.15 introduced
        min_transformers="5.15.0",
        parameters=count_parameters(shape).total,
        weight_bytes=MappingProxyType(all_weight_bytes(shape)),
        released="",
        sources=(source("mini-card"),),
    )


def format_parameters(checkpoint: Checkpoint) -> str:
    """Return the parameter count of a checkpoint, or a dash."""
    return parameters(checkpoint.parameters) if checkpoint.parameters else "–"


def format_weights(checkpoint: Checkpoint) -> str:
    """Return the size of a checkpoint's weights by dtype; ≈ marks published, rounded sizes."""
    sizes = {dtype: size for dtype, size in checkpoint.weight_bytes.items() if dtype not in ("fp32", "int8")}
    if checkpoint.format == "safetensors":
        return ", ".join(f"{dtype} {gib(size)}" for dtype, size in sizes.items()) or "–"
    return ", ".join(f"{dtype} ≈ {size / 2**30:.1f} GiB" for dtype, size in sizes.items()) or "–"
