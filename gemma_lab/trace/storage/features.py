"""The arrays of a `Features` in a trace file."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..records.features import Features
from .container import Archive, Writer
from .schema import FeaturesPart
from .tensors import Shapes, read_tensors, widest_first, write_tensors

MEMBER = "features.safetensors"
_NAMES = ("ids", "activations", "active", "squared_errors", "counted")


def features_part(features: Features) -> FeaturesPart:
    """Return what the manifest states about the features of an SAE."""
    return FeaturesPart(
        sae=features.sae,
        layer=features.layer,
        features=features.features,
        kept=features.kept,
        total_variance=features.total_variance,
        min_variance_explained=features.min_variance_explained,
        same_weights=features.same_weights,
    )


def features_shapes(part: FeaturesPart, tokens: int) -> Shapes:
    """Return type and shape of every array by its name."""
    kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
        "ids": ("<i4", (tokens, part.kept)),
        "activations": ("<f4", (tokens, part.kept)),
        "active": ("<i4", (tokens,)),
        "squared_errors": ("<f4", (tokens,)),
        "counted": ("|u1", (tokens,)),
    }
    return widest_first(
        {f"features.{name}": (np.dtype(kind), shape) for name, (kind, shape) in kinds.items()}
    )


def write_features(writer: Writer, features: Features) -> None:
    """Add the arrays of a record to a trace file."""
    shapes = features_shapes(features_part(features), len(features))
    write_tensors(writer, MEMBER, shapes, lambda name: [getattr(features, name.removeprefix("features."))])


def read_features(archive: Archive, part: FeaturesPart, *, tokens: int) -> Features:
    """Return the features of a trace file, with read-only arrays.

    Raises
    ------
    BadTrace
        If the arrays do not have the shapes of `part`, or a flag is neither 0 nor 1.
    """
    found = read_tensors(archive, MEMBER, features_shapes(part, tokens))
    arrays = {name: found[f"features.{name}"] for name in _NAMES}
    if (arrays["counted"] > 1).any():
        raise archive.bad("it has a token that is counted neither once nor not at all")
    return Features(
        sae=part.sae,
        layer=part.layer,
        features=part.features,
        ids=arrays["ids"],
        activations=arrays["activations"],
        active=arrays["active"],
        squared_errors=arrays["squared_errors"],
        counted=arrays["counted"].astype(bool),
        total_variance=part.total_variance,
        min_variance_explained=part.min_variance_explained,
        same_weights=part.same_weights,
    )
