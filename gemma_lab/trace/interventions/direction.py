"""A direction of the residual stream as a value: a vector per layer, with what it was computed from.

No torch here: `gemma_lab.trace.run.directions` computes directions.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import as_index, short_repr, whole_number
from ...display import Displayed
from ...errors import BadEdit
from ..records.activations import as_indices, brief

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

HOW = "For example lab.direction(['I am so happy.', …], ['I am so sad.', …], layers=[3])."
_FIELDS = {"name", "method", "model", "weights", "layers", "width", "vectors"}
_LONGEST_NAME = 200


@dataclass(frozen=True, eq=False, repr=False)
class Direction(Displayed):
    """A direction of the residual stream: one vector per layer, in units of the residual stream.

    `Lab.direction` computes it from two lists of prompts, `Lab.expert_direction` from a router's weights.
    Adding it to the residual stream is `Steering`.

    Attributes
    ----------
    name
        What it stands for, e.g. ``"happy − sad"``.
    method
        ``"mean difference"``, ``"router logit"`` or ``"random"``.
    layers
        After which layers; the model's own indices.
    vectors
        Float32 ``[layers, width]``.
    model
        Name of the model.
    weights
        Digests of its weights (`gemma_lab.models.loading.weights_digest`); an edit refuses other weights.

    Raises
    ------
    BadEdit
        If the parts do not fit together, or a vector is not finite or has length 0.
    """

    name: str
    method: str
    layers: tuple[int, ...]
    vectors: NDArray[np.float32]
    model: str = "model"
    weights: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            vectors = np.array(self.vectors, dtype=np.float32)  # the caller's array stays writable
        except (TypeError, ValueError) as error:
            raise BadEdit(f"The vectors of a direction are {short_repr(self.vectors)}.", hint=HOW) from error
        object.__setattr__(self, "layers", as_indices(self.layers, "a layer", argument="Direction", hint=HOW))
        if vectors.ndim != 2 or len(vectors) != len(self.layers):
            raise BadEdit(
                f"A direction of {len(self.layers)} layers has vectors of shape {list(vectors.shape)}.",
                hint=HOW,
            )
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise BadEdit(f"The layers of a direction are {short_repr(self.layers)}.", hint=HOW)
        if not np.isfinite(vectors).all() or not np.linalg.norm(vectors, axis=1).all():
            raise BadEdit(
                "A direction has a vector that is not finite, or of length 0.",
                hint="The two lists of prompts must differ in what the model reads.",
            )
        if not isinstance(self.name, str) or len(self.name) > _LONGEST_NAME:
            raise BadEdit(f"A direction is named {short_repr(self.name)}.", hint="Pass a short text.")
        if not isinstance(self.method, str) or not isinstance(self.model, str):
            raise BadEdit(
                f"A direction has the method {short_repr(self.method)}, model {short_repr(self.model)}.",
                hint="Both are text.",
            )
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.vectors.shape[1])

    @property
    def norms(self) -> NDArray[np.float32]:
        """Length of each layer's vector, ``[layers]``."""
        lengths: NDArray[np.float32] = np.linalg.norm(self.vectors, axis=1)
        return lengths

    def at(self, layers: Iterable[int]) -> Direction:
        """Return the direction at some of its layers.

        Raises
        ------
        BadEdit
            If it has no such layer.
        """
        chosen = sorted(set(as_indices(layers, "a layer", argument="steer", hint=HOW)))
        missing = [layer for layer in chosen if layer not in self.layers]
        if missing or not chosen:
            raise BadEdit(
                f"The direction has no layer {short_repr(missing[0]) if missing else '(none was named)'}.",
                hint=f"It has {brief(self.layers)}.",
            )
        rows = [self.layers.index(layer) for layer in chosen]
        return replace(self, layers=tuple(chosen), vectors=self.vectors[rows])

    def random(self, seed: int = 0) -> Direction:
        """Return a random direction with vectors of the same lengths: the control of a dose curve.

        Parameters
        ----------
        seed
            Of the directions, which are uniform on the sphere, independent between layers.
        """
        seed = whole_number("seed", seed, minimum=0)
        drawn = np.random.default_rng(seed).standard_normal(self.vectors.shape)
        drawn *= self.norms[:, None] / np.linalg.norm(drawn, axis=1, keepdims=True)
        return replace(self, name=f"random {seed}", method="random", vectors=drawn.astype(np.float32))

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per layer: its vector's length, and cosine similarity with the layer before."""
        import pandas as pd

        units = self.vectors / self.norms[:, None]
        cosines = [float("nan"), *(units[1:] * units[:-1]).sum(axis=1).tolist()]
        return pd.DataFrame({"layer": self.layers, "norm": self.norms, "cosine_with_previous": cosines})

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; the vectors as base64 of little-endian float32."""
        return {
            "name": self.name, "method": self.method, "model": self.model, "weights": dict(self.weights),
            "layers": list(self.layers), "width": self.width,
            "vectors": base64.b64encode(self.vectors.astype("<f4").tobytes()).decode("ascii"),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Direction:
        """Return the direction that `to_dict` returned these values for.

        Raises
        ------
        BadEdit
            If they are anything else.
        """
        if not isinstance(data, Mapping) or set(data) != _FIELDS:
            raise BadEdit(f"A direction cannot be read from {short_repr(data)}.", hint=HOW)
        texts = [data["name"], data["method"], data["model"]]
        weights = data["weights"]
        if not isinstance(weights, Mapping) or not all(
            isinstance(each, str) for each in (*texts, *weights, *weights.values())
        ):
            raise BadEdit("The facts of a direction are not all text.", hint="Save it again.")
        layers = as_indices(data["layers"], "a layer", argument="steer", hint=HOW)
        width = as_index(data["width"], "a width", "steer", hint=HOW)
        try:
            raw = base64.b64decode(data["vectors"], validate=True)
        except (TypeError, ValueError) as error:
            raise BadEdit("The vectors of a direction are not base64.", hint="Save it again.") from error
        if len(raw) != 4 * len(layers) * width:
            raise BadEdit(
                f"A direction of {len(layers)} layers of width {width:,} holds {len(raw):,} bytes.",
                hint="Save it again.",
            )
        vectors = np.frombuffer(raw, dtype="<f4").reshape(len(layers), width)
        return cls(data["name"], data["method"], layers, vectors, data["model"], dict(weights))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the vectors, as hexadecimal digits."""
        return hashlib.sha256(self.vectors.astype("<f4").tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Direction) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        weights = tuple(sorted(self.weights.items()))
        return self.name, self.method, self.model, weights, self.layers, self.vectors.shape, self.digest

    def __repr__(self) -> str:
        return f"Direction({self.name!r}, {self.method}, {self.model}: layers {brief(self.layers)})"
