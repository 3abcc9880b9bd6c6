"""The Jacobian lens as a value: one matrix per layer, with what it was fitted on; no torch here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import as_path, short_repr
from ...display import Displayed
from ...errors import BadLens, NotTraced
from ...files import unwritable

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[Any]]

_FORMAT, _VERSION = "gemma_lab jacobian lens", "1"
_FIELDS = ("model", "norms", "matrices", "corpus", "date")
_NUMBERS = ("texts", "tokens", "skip", "max_tokens")
_AGAIN = "Fit it again: lab.fit_lens(), or gemma-lab fit-lens MODEL --out FILE."
#: Largest magnitude that float16 holds with a margin; a lens beyond it is kept in float32.
_HALF_MAX = 6e4


@dataclass(frozen=True, eq=False, repr=False)
class JacobianLens(Displayed):
    r"""The mean Jacobian of the final residual stream with respect to each layer's, fitted on a corpus.

    For layer l the matrix is the mean over texts of

    .. math:: J_l = \frac{1}{|V|} \sum_{t \in V} \sum_{t' \in V,\, t' \ge t}
              \frac{\partial h_{\mathrm{final}}[t']}{\partial h_l[t]}

    where h_l is the output of layer l, h_final that of the last layer before the final norm, and V are the
    positions of the text without the first `skip` and the last one. A layer is read as
    ``softcap(unembed(final_norm(J_l @ h_l)))``. For the last layer J is the identity, so that its reading is
    the model's own. Keys and values that KV-shared layers reuse are inputs, not functions of h_l, from the
    layer on that computes them. Experts are those that the router chose: it is the derivative of their
    outputs and weights, not of the choice.

    The estimator is that of Gurnee et al. 2026 ("Verbalizable representations form a global workspace in
    language models", Anthropic; reference implementation: github.com/anthropics/jacobian-lens), which sums
    the effects on the same and all later positions.

    Attributes
    ----------
    model
        Name of the model.
    weights
        Digests of the weights that it was fitted on (`gemma_lab.models.loading.weights_digest`).
    layers
        The model's own index of each layer.
    jacobians
        ``[layers, width, width]``, float16 or float32: row i is the derivative of final coordinate i.
    corpus, texts, tokens
        What it was fitted on: a description, the number of texts and of their positions in V.
    skip, max_tokens
        Positions left out at the start of each text, and the length that texts were cut to.
    date
        The day of the fit, ISO 8601.

    Raises
    ------
    BadLens
        If the parts do not fit together, or a value is not finite.
    """

    model: str
    weights: Mapping[str, str]
    layers: tuple[int, ...]
    jacobians: Array = field(repr=False)
    corpus: str
    texts: int
    tokens: int
    skip: int
    max_tokens: int
    date: str

    def __post_init__(self) -> None:
        shape = self.jacobians.shape
        if len(shape) != 3 or shape[0] != len(self.layers) or shape[1] != shape[2] or not self.layers:
            raise BadLens(
                f"A Jacobian lens of {len(self.layers)} layers has matrices of shape {list(shape)}.",
                hint=_AGAIN,
            )
        if list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise BadLens("The layers of the lens do not ascend from 0.", hint=_AGAIN)
        if min(self.texts, self.tokens, self.max_tokens) < 1 or self.skip < 0:
            raise BadLens("The lens says that it was fitted on no text.", hint=_AGAIN)
        if not np.isfinite(self.jacobians).all():
            raise BadLens("The lens holds values that are not finite.", hint=_AGAIN)
        if not np.array_equal(self.jacobians[-1], np.eye(shape[1], dtype=self.jacobians.dtype)):
            raise BadLens("The last layer of the lens is not the identity.", hint=_AGAIN)

    @property
    def width(self) -> int:
        """Size of the residual stream."""
        return int(self.jacobians.shape[1])

    def matrix(self, layer: int) -> Array:
        """Return the mean Jacobian of a layer, float32 ``[width, width]``.

        Raises
        ------
        NotTraced
            If the lens has no such layer.
        """
        if layer not in self.layers:
            raise NotTraced(
                f"The lens has no layer {layer}.", hint=f"Its layers: {self.layers[0]} to {self.layers[-1]}."
            )
        values: Array = self.jacobians[self.layers.index(layer)].astype(np.float32)
        return values

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the matrices, as hexadecimal digits; traces note it."""
        return hashlib.sha256(np.ascontiguousarray(self.jacobians).tobytes()).hexdigest()

    def to_meta(self) -> dict[str, Any]:
        """Return what a trace notes about the lens that it was recorded with."""
        names = ("model", "corpus", "texts", "tokens", "date", "digest")
        return {name: getattr(self, name) for name in names}

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per layer: how far its matrix is from the identity, and its effective rank.

        ``distance`` is the Frobenius norm of J − 1 over that of 1; ``effective_rank`` is the exponential of
        the entropy of the normalised singular values (Roy and Vetterli 2007, EUSIPCO).
        """
        import pandas as pd

        rows = []
        for layer in self.layers:
            matrix = self.matrix(layer).astype(np.float64)
            values = np.linalg.svd(matrix, compute_uv=False)
            share = values / max(values.sum(), np.finfo(float).tiny)
            share = share[share > 0]
            distance = float(np.linalg.norm(matrix - np.eye(self.width)) / np.sqrt(self.width))
            rows.append((layer, distance, float(np.exp(-(share * np.log(share)).sum()))))
        return pd.DataFrame(rows, columns=["layer", "distance", "effective_rank"])

    def save(self, path: str | Path) -> Path:
        """Write the lens as a safetensors file, its facts as metadata, and return the file's path.

        Raises
        ------
        LabError
            If it cannot be written there.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        facts = {
            "format": _FORMAT, "version": _VERSION, "model": self.model, "corpus": self.corpus,
            "date": self.date, "layers": json.dumps(list(self.layers)), **self.weights,
            **{name: str(getattr(self, name)) for name in _NUMBERS},
        }  # fmt: skip
        target = as_path("path", path, example='lens.save("my-lens.safetensors")')
        try:
            save_file({"jacobians": np.ascontiguousarray(self.jacobians)}, target, metadata=facts)
        except (SafetensorError, OSError) as error:
            raise unwritable(target, error) from error
        return target

    @classmethod
    def open(cls, path: str | Path) -> JacobianLens:
        """Read a lens from a file that `save` wrote.

        Raises
        ------
        BadLens
            If the file cannot be read or does not hold a lens.
        """
        from safetensors import SafetensorError, safe_open

        file, facts = _file(path), read_facts(path)
        try:
            with safe_open(file, framework="numpy") as opened:
                found = opened.get_slice("jacobians")
                if found.get_dtype() not in ("F16", "F32"):
                    raise BadLens(f"{file.name} has matrices of type {found.get_dtype()}.", hint=_AGAIN)
                jacobians = found[:]
            numbers = {name: int(facts[name]) for name in _NUMBERS}
            layers = tuple(int(layer) for layer in json.loads(facts["layers"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise BadLens(f"{file.name} cannot be read: {short_repr(str(error))}.", hint=_AGAIN) from error
        return cls(
            model=facts["model"], weights={name: facts[name] for name in ("norms", "matrices")},
            layers=layers, jacobians=jacobians, corpus=facts["corpus"], date=facts["date"], **numbers,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JacobianLens) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        facts = tuple(getattr(self, name) for name in ("model", "layers", "corpus", "date", *_NUMBERS))
        return (*facts, tuple(sorted(self.weights.items())), self.digest)

    def __repr__(self) -> str:
        return (
            f"JacobianLens({self.model}: {len(self.layers)} layers × {self.width:,}², fitted on "
            f"{self.tokens:,} tokens of {self.texts:,} texts, {self.date})"
        )


def _file(path: Any) -> Path:
    return as_path("path", path, example='gl.JacobianLens.open("my-lens.safetensors")')


def read_facts(path: str | Path) -> dict[str, str]:
    """Return the metadata of a lens file without reading its matrices.

    Raises
    ------
    BadLens
        If the file cannot be read or does not hold a lens.
    """
    from safetensors import SafetensorError, safe_open

    file = _file(path)
    if not file.is_file():
        raise BadLens(f"There is no file {short_repr(str(path))}.", hint="Give the path of a saved lens.")
    try:
        with safe_open(file, framework="numpy") as opened:
            facts: dict[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise BadLens(f"{file.name} cannot be read: {short_repr(str(error))}.", hint=_AGAIN) from error
    if facts.get("format") != _FORMAT or {*_FIELDS, *_NUMBERS, "layers"} - set(facts):
        raise BadLens(f"{file.name} is not a Jacobian lens of gemma_lab.", hint=_AGAIN)
    if facts.get("version") != _VERSION:
        raise BadLens(
            f"{file.name} has version {short_repr(facts.get('version'))}; this release reads {_VERSION}.",
            hint=_AGAIN,
        )
    return facts


def as_half(values: Array) -> Array:
    """Return values in float16, or unchanged where one is too large for it."""
    return values.astype(np.float16) if np.abs(values).max(initial=0.0) < _HALF_MAX else values
