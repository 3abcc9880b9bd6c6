"""The arrays of a `Routing` in a trace file."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records.routing import Routing, id_type
from .container import Archive, Writer
from .schema import RoutingPart
from .tensors import Shapes, read_tensors, widest_first, write_tensors

MEMBER = "arrays.safetensors"
#: Array name -> attribute of `Routing`.
_ATTRIBUTES = {
    "routing.ids": "ids",
    "routing.gate_weights": "stored_gate_weights",
    "routing.scale": "scale",
    "routing.entropy": "entropy",
    "routing.expert_output_fraction": "expert_output_fraction",
}


def routing_part(routing: Routing) -> RoutingPart:
    """Return what the manifest states about a routing."""
    return RoutingPart(
        layers=routing.layers,
        experts=routing.experts,
        top_k=routing.top_k,
        precision=routing.precision,
    )


def routing_shapes(part: RoutingPart, tokens: int) -> Shapes:
    """Return type and shape of every array by its name."""
    layers = len(part.layers)
    compact = part.precision == "compact"
    number, gate_weight = ("<f2", "<u2") if compact else ("<f4", "<f4")
    kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
        "routing.scale": ("<f4", (layers, part.experts)),
        "routing.gate_weights": (gate_weight, (layers, tokens, part.top_k)),
        "routing.entropy": (number, (layers, tokens)),
        "routing.expert_output_fraction": (number, (layers, tokens)),
        "routing.ids": (np.dtype(id_type(part.experts)).newbyteorder("<"), (layers, tokens, part.top_k)),
    }
    return widest_first({name: (np.dtype(kind), shape) for name, (kind, shape) in kinds.items()})


def write_routing(writer: Writer, routing: Routing) -> None:
    """Add the arrays of a routing to a trace file, one layer at a time."""
    shapes = routing_shapes(routing_part(routing), len(routing))
    write_tensors(writer, MEMBER, shapes, lambda name: getattr(routing, _ATTRIBUTES[name]))


def read_routing(archive: Archive, part: RoutingPart, *, tokens: int) -> Routing:
    """Return the routing of a trace file, with read-only arrays; large ones stay in the file.

    Raises
    ------
    BadTrace
        If the arrays do not have the shapes of `part`.
    """
    arrays = read_tensors(archive, MEMBER, routing_shapes(part, tokens))
    return Routing(
        **{_ATTRIBUTES[name]: array for name, array in arrays.items()},
        layers=part.layers,
        experts=part.experts,
        precision=part.precision,
    )
