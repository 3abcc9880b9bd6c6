"""A routing's arrays as a safetensors member: written in pieces, read in place.

The layout follows from a few numbers (layers, tokens, experts, top-k, precision), so a reader knows it before
it looks, and whatever else the header says is refused.
Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import Archive, Writer
from .dispatch import MOST_EXPERTS, Routing
from .packing import id_type, packed_width
from .strict_json import strict_json

MEMBER = "arrays.safetensors"
#: Arrays of more bytes stay in the file, as memory maps.
IN_MEMORY = 64 << 20
_ALIGN = 64  # bytes: where the arrays begin in the file, so that memory maps are aligned
_NAMES = {"<f4": "F32", "<f2": "F16", "<u2": "U16", "|u1": "U8"}
_MOST_HEADER = 1 << 16


@dataclass(frozen=True)
class Layout:
    """What a routing's arrays look like.

    Attributes
    ----------
    layers
        The model's layer index of each row.
    tokens, experts, top_k
        How many of each.
    precision
        ``"compact"`` or ``"full"``.
    """

    layers: tuple[int, ...]
    tokens: int
    experts: int
    top_k: int
    precision: str

    @classmethod
    def of(cls, routing: Routing) -> Layout:
        """Return the layout of a routing."""
        return cls(routing.layers, len(routing), routing.experts, routing.top_k, routing.precision)

    @classmethod
    def read(cls, entry: Any, *, tokens: int, archive: Archive) -> Layout:
        """Return the layout that a manifest states.

        Raises
        ------
        BadTrace
            If it states anything else than whole numbers in range.
        """
        entry = entry if isinstance(entry, dict) else {}
        layers, precision = entry.get("layers"), entry.get("precision")
        numbers: list[Any] = layers if isinstance(layers, list) else [None]
        experts, top_k = entry.get("experts"), entry.get("top_k")
        whole = all(type(n) is int and 0 <= n < 1 << 31 for n in [*numbers, experts, top_k])
        if not whole or precision not in ("compact", "full") or len(set(numbers)) != len(numbers):
            raise archive.bad("its manifest does not describe a routing")
        if not 1 <= top_k <= experts <= MOST_EXPERTS:
            raise archive.bad(f"it routes to {top_k:,} of {experts:,} experts")
        return cls(tuple(numbers), tokens, experts, top_k, precision)

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        return {
            "layers": list(self.layers), "experts": self.experts, "top_k": self.top_k,
            "precision": self.precision,
        }  # fmt: skip

    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return dtype and shape of every array by its name, the widest numbers first."""
        rows, place = len(self.layers), (len(self.layers), self.tokens)
        number = "<f2" if self.precision == "compact" else "<f4"
        shares = (
            {"routing.shares12": ("|u1", (*place, packed_width(self.top_k)))}
            if self.precision == "compact"
            else {"routing.shares": ("<f4", (*place, self.top_k))}
        )
        kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
            "routing.scale": ("<f4", (rows, self.experts)),
            **shares,
            "routing.entropy": (number, place),
            "routing.experts_share": (number, place),
            "routing.ids": (np.dtype(id_type(self.experts)).newbyteorder("<"), (*place, self.top_k)),
        }
        listed = [(name, np.dtype(kind), shape) for name, (kind, shape) in kinds.items()]
        listed.sort(key=lambda entry: (-entry[1].itemsize, entry[0]))
        return {name: (kind, shape) for name, kind, shape in listed}

    def header(self) -> tuple[dict[str, Any], int]:
        """Return the header of the safetensors file, and how many bytes of arrays follow it."""
        header, end = {}, 0
        for name, (kind, shape) in self.arrays().items():
            start, end = end, end + kind.itemsize * math.prod(shape)
            header[name] = {"dtype": _NAMES[kind.str], "shape": list(shape), "data_offsets": [start, end]}
        return header, end


def write_routing(writer: Writer, routing: Routing) -> None:
    """Add a routing's arrays to a trace file, layer by layer."""
    layout = Layout.of(routing)
    header, total = layout.header()
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    fields = _fields(layout)
    with writer.stream(MEMBER, size=8 + len(text) + _ALIGN + total) as (write, place):
        text += b" " * (-(place + 8 + len(text)) % _ALIGN)
        write(len(text).to_bytes(8, "little") + text)
        for name, (kind, _) in layout.arrays().items():
            for row in getattr(routing, fields[name]):
                if row.size:
                    write(np.ascontiguousarray(row, dtype=kind))


def read_routing(archive: Archive, layout: Layout) -> Routing:
    """Return the routing of a trace file, its arrays read-only; large ones stay in the file.

    Raises
    ------
    BadTrace
        If the arrays are not those of `layout`, or hold what no router returns.
    """
    header, total = layout.header()
    size = archive.bytes_of(MEMBER)
    if not total + 10 <= size <= total + _MOST_HEADER:
        raise archive.bad(f"its routing takes {total:,} bytes and {MEMBER} has {size:,}")
    if size <= IN_MEMORY:
        data: Any = np.frombuffer(archive.read(MEMBER), dtype=np.uint8)
    else:
        place = archive.verify(MEMBER)
        data = np.memmap(archive.path, dtype=np.uint8, mode="r", offset=place, shape=(size,))
    length = int.from_bytes(data[:8].tobytes(), "little")
    try:
        stated = strict_json(data[8 : 8 + min(length, _MOST_HEADER)].tobytes())
    except ValueError as error:
        raise archive.bad(f"the header of {MEMBER} cannot be read ({error})") from error
    if stated != header or 8 + length + total != size:
        raise archive.bad(f"the shapes in {MEMBER} contradict the manifest")
    start, fields = 8 + length, _fields(layout)
    arrays = {}
    for name, (kind, shape) in layout.arrays().items():
        first, last = header[name]["data_offsets"]
        arrays[fields[name]] = data[start + first : start + last].view(kind).reshape(shape)
    precision: Any = layout.precision
    routing = Routing(**arrays, layers=layout.layers, experts=layout.experts, precision=precision)
    routing.check_stored()
    return routing


def _fields(layout: Layout) -> dict[str, str]:
    """Return the attribute of `Routing` that each array is."""
    names = (name.removeprefix("routing.") for name in layout.arrays())
    return {f"routing.{name}": "packed" if name.startswith("shares") else name for name in names}
