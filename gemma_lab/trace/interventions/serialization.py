"""An edit as plain values and as a JSON file, both read by one schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ...checks import as_path, short_repr
from ...errors import BadEdit
from ...files import write_file
from ..storage.strict_json import strict_json
from .attention_knockout import AttentionKnockout
from .patch import Patch
from .steering import Steering

#: Format and version that a file states.
_FORMAT, _VERSION = "gemma_lab edit", 1
#: Bytes: the values that patches may hold, as base64, and the rest.
_LARGEST_FILE = 32 << 20
_SAVED = "Give a file that Edit.save wrote."

_Index = Annotated[int, msgspec.Meta(ge=0, lt=100_000)]
_Layer = _Index | Literal["all"]

#: The kinds of change that an edit is made of, in the order in which it is printed.
SETS = ("ablate_experts", "force_experts", "ablate_heads")
KINDS = (
    "ablate_experts", "boost_experts", "force_experts", "ablate_heads", "knock_out_attention", "patch",
    "steer",
)  # fmt: skip


def to_plain(edit: Any) -> dict[str, Any]:
    """Return an edit as plain values that JSON can hold, with layers as text."""
    parts: dict[str, Any] = {}
    for kind in KINDS:
        values = getattr(edit, kind)
        if kind in SETS:
            parts[kind] = {str(layer): list(of) for layer, of in values.items()}
        elif kind == "boost_experts":
            parts[kind] = {
                str(layer): {str(expert): nats for expert, nats in of.items()} for layer, of in values.items()
            }
        else:
            parts[kind] = [part.to_dict() for part in values]
    return {kind: part for kind, part in parts.items() if part}


class EditValues(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Schema of an edit as plain values; object keys are numbers written as text, or ``"all"``."""

    ablate_experts: dict[_Layer, list[_Index]] = {}
    boost_experts: dict[_Layer, dict[_Index, float]] = {}
    force_experts: dict[_Layer, list[_Index]] = {}
    ablate_heads: dict[_Layer, list[_Index]] = {}
    knock_out_attention: list[dict[str, Any]] = []
    patch: list[dict[str, Any]] = []
    steer: list[dict[str, Any]] = []


def from_plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Edit` that `to_plain` gave these values for.

    Raises
    ------
    BadEdit
        If they are anything else; the error names the place.
    """
    try:
        values = msgspec.convert(data, EditValues, str_keys=True)
    except msgspec.ValidationError as error:
        why = str(error).replace("`$.", "`")
        raise BadEdit(
            f"An edit cannot be read from {short_repr(data)}: {why}.", hint=f"It has only {', '.join(KINDS)}."
        ) from error
    parts = {kind: part for kind in KINDS if (part := getattr(values, kind))}
    readers = {
        "knock_out_attention": AttentionKnockout.from_dict, "patch": Patch.from_dict,
        "steer": Steering.from_dict,
    }  # fmt: skip
    return parts | {
        kind: [read_one(one) for one in parts[kind]] for kind, read_one in readers.items() if kind in parts
    }


def write(edit: Any, path: str | Path) -> Path:
    """Write an edit as a JSON file and return the file's path."""
    values = {"format": _FORMAT, "version": _VERSION, **to_plain(edit)}
    data = (json.dumps(values, indent=2) + "\n").encode()
    return write_file(path, data, example='edit.save("ablation.json")')


def read(path: str | Path) -> dict[str, Any]:
    """Return the arguments of `Edit` from a file that `write` wrote.

    Raises
    ------
    BadEdit
        If the file is anything else.
    """
    file = as_path("path", path, example='gl.Edit.open("ablation.json")')
    if not file.is_file():
        raise BadEdit(f"There is no file {short_repr(str(path))}.", hint="Give the path of a saved edit.")
    with file.open("rb") as opened:
        raw = opened.read(_LARGEST_FILE + 1)
    if len(raw) > _LARGEST_FILE:
        raise BadEdit(f"{file.name} is larger than {_LARGEST_FILE:,} bytes.", hint=_SAVED)
    try:
        values = strict_json(raw)
    except ValueError as error:  # also of bytes that are not UTF-8
        why = str(error).splitlines()[0]
        raise BadEdit(f"{file.name} cannot be read: {short_repr(why)}.", hint=_SAVED) from error
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        raise BadEdit(f"{file.name} is not an edit of gemma_lab.", hint=_SAVED)
    version = values.pop("version", None)
    if version != _VERSION or isinstance(version, bool):
        raise BadEdit(
            f"{file.name} has version {short_repr(version)}; this release reads version {_VERSION}.",
            hint="Open it with the release that saved it.",
        )
    return from_plain(values)
