"""An edit as plain values and as a JSON file: written, and read without trusting either."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checks import short_repr
from ..errors import BadEdit
from ..trace.storage.strict_json import strict_json
from .attention_knockout import AttentionKnockout
from .parsing import HOW, HOW_HEADS
from .patch import Patch

if TYPE_CHECKING:
    from .edit import Edit

#: What a file says it is.
_FORMAT, _VERSION = "gemma_lab edit", 1
#: Room for as many values as patches may hold, as base64.
_LARGEST_FILE = 32 << 20
_SAVED = "Give a file that Edit.save wrote."

#: What an edit is made of, in the order in which it is printed.
SETS = ("ablate_experts", "force_experts", "ablate_heads")
KINDS = ("ablate_experts", "boost_experts", "force_experts", "ablate_heads", "knock_out_attention", "patch")


def to_plain(edit: Edit) -> dict[str, Any]:
    """Return an edit as plain values that JSON can hold; layers are strings there."""
    parts: dict[str, Any] = {}
    for kind in KINDS:
        given = getattr(edit, kind)
        if kind in SETS:
            parts[kind] = {str(layer): list(of) for layer, of in given.items()}
        elif kind == "boost_experts":
            parts[kind] = {
                str(layer): {str(expert): nats for expert, nats in of.items()} for layer, of in given.items()
            }
        else:
            parts[kind] = [part.to_dict() for part in given]
    return {kind: part for kind, part in parts.items() if part}


def from_plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Edit` that `to_plain` gave these values for.

    Raises
    ------
    BadEdit
        If they are anything else.
    """
    if not isinstance(data, Mapping) or not set(data) <= set(KINDS):
        raise BadEdit(f"An edit cannot be read from {short_repr(data)}.", hint=f"It has only {', '.join(KINDS)}.")
    parts: dict[str, Any] = {}
    for kind, part in data.items():
        if kind in ("knock_out_attention", "patch"):
            if not isinstance(part, list):
                raise BadEdit(f"{kind} is {short_repr(part)}, not a list.", hint=_SAVED)
            of: type[AttentionKnockout | Patch] = (
                AttentionKnockout if kind == "knock_out_attention" else Patch
            )
            parts[kind] = [of.from_dict(one) for one in part]
            continue
        if not isinstance(part, Mapping):
            hint = HOW_HEADS if kind == "ablate_heads" else HOW
            raise BadEdit(f"{kind} is {short_repr(part)}, not a mapping of layers.", hint=hint)
        parts[kind] = {_key(layer, kind): value for layer, value in part.items()}
    if "boost_experts" in parts:
        parts["boost_experts"] = {
            layer: {_key(expert, "boost_experts"): nats for expert, nats in value.items()}
            if isinstance(value, Mapping)
            else value
            for layer, value in parts["boost_experts"].items()
        }
    return parts


def write(edit: Edit, path: str | Path) -> Path:
    """Write an edit as a JSON file and return the file's path."""
    target = Path(path)
    whole = {"format": _FORMAT, "version": _VERSION, **to_plain(edit)}
    target.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    return target


def read(path: str | Path) -> dict[str, Any]:
    """Return the arguments of `Edit` from a file that `write` wrote.

    Raises
    ------
    BadEdit
        If the file is anything else.
    """
    file = Path(path)
    if not file.is_file():
        raise BadEdit(f"There is no file {short_repr(str(path))}.", hint="Give the path of a saved edit.")
    with file.open("rb") as opened:
        raw = opened.read(_LARGEST_FILE + 1)
    if len(raw) > _LARGEST_FILE:
        raise BadEdit(f"{file.name} is larger than {_LARGEST_FILE:,} bytes.", hint="No edit is so large.")
    try:
        whole = strict_json(raw)
    except ValueError as error:  # also of bytes that are no UTF-8
        why = str(error).splitlines()[0]
        raise BadEdit(f"{file.name} cannot be read: {short_repr(why)}.", hint=_SAVED) from error
    if not isinstance(whole, dict) or whole.pop("format", None) != _FORMAT:
        raise BadEdit(f"{file.name} is no edit of gemma_lab.", hint=_SAVED)
    version = whole.pop("version", None)
    if version != _VERSION or isinstance(version, bool):
        raise BadEdit(
            f"{file.name} has version {short_repr(version)}; this release reads version {_VERSION}.",
            hint="Open it with the release that saved it.",
        )
    return from_plain(whole)


def _key(text: Any, kind: str) -> Any:
    """Read a key of JSON, where numbers are strings."""
    plain = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 5
    if plain and str(int(text)) != text:
        raise BadEdit(f"{kind} writes {text} for {int(text)}.", hint=_SAVED)
    return int(text) if plain else text
