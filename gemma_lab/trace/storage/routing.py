"""A routing's arrays in a trace file.

Their layout follows from a few numbers (layers, tokens, experts, top-k, precision), so a reader knows it
before it looks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..records.routing import MOST_EXPERTS, Routing, check_routing, id_type
from .container import Archive, Writer
from .tensors import Shapes, read_tensors, widest_first, write_tensors

MEMBER = "arrays.safetensors"


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

    def arrays(self) -> Shapes:
        """Return dtype and shape of every array by its name, the widest numbers first."""
        rows, place = len(self.layers), (len(self.layers), self.tokens)
        number = "<f2" if self.precision == "compact" else "<f4"
        gate_weights = "<u2" if self.precision == "compact" else "<f4"
        kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
            "routing.scale": ("<f4", (rows, self.experts)),
            "routing.gate_weights": (gate_weights, (*place, self.top_k)),
            "routing.entropy": (number, place),
            "routing.expert_output_fraction": (number, place),
            "routing.ids": (np.dtype(id_type(self.experts)).newbyteorder("<"), (*place, self.top_k)),
        }
        return widest_first({name: (np.dtype(kind), shape) for name, (kind, shape) in kinds.items()})


def write_routing(writer: Writer, routing: Routing) -> None:
    """Add a routing's arrays to a trace file, layer by layer."""
    layout = Layout.of(routing)
    fields = _fields(layout)
    write_tensors(writer, MEMBER, layout.arrays(), lambda name: getattr(routing, fields[name]))


def read_routing(archive: Archive, layout: Layout) -> Routing:
    """Return the routing of a trace file, its arrays read-only; large ones stay in the file.

    Raises
    ------
    BadTrace
        If the arrays are not those of `layout`, or hold what no router returns.
    """
    fields = _fields(layout)
    arrays = read_tensors(archive, MEMBER, layout.arrays())
    precision: Any = layout.precision
    routing = Routing(
        **{fields[name]: array for name, array in arrays.items()}, layers=layout.layers,
        experts=layout.experts, precision=precision,
    )  # fmt: skip
    check_routing(routing)
    return routing


def _fields(layout: Layout) -> dict[str, str]:
    """Return the attribute of `Routing` that each array is."""
    names = (name.removeprefix("routing.") for name in layout.arrays())
    return {f"routing.{name}": "stored_gate_weights" if name == "gate_weights" else name for name in names}
