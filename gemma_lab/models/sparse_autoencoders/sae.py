"""`SparseAutoencoder`: sparse features of the residual stream after one layer, and its reconstruction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from ...checks import real_number, short_repr, type_name, whole_number
from ...display import Displayed
from ...errors import BadCheckpoint, LabError
from .writing import write_sae

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

Activation = Literal["relu", "topk", "jumprelu"]
Normalization = Literal["none", "layer_norm", "constant_norm_rescale"]

#: Variance explained below which features are not interpreted: half of what the activations vary by is lost.
MIN_VARIANCE_EXPLAINED = 0.5
#: Features that are kept of a token at most, the strongest first; `Encoded.active` counts all.
MAX_KEPT = 128
#: Numbers of a block of dense feature activations that is computed at once: 256 MiB in float32.
_BLOCK = 1 << 26
_LN_EPS = 1e-5  # of sae_lens' layer_norm, added to the standard deviation


class Encoded(NamedTuple):
    """Features of some rows of the residual stream, n rows, the k strongest of each.

    ``ids`` int64 and ``activations`` float32 ``[n, k]``, strongest first, equal ones by id, −1 and 0 where a
    row has fewer; ``active`` int64 ``[n]``, how many features are above zero; ``squared_errors`` float32
    ``[n]``, ‖x − x̂‖² of the reconstruction from all of them; ``seen`` bool ``[features]``, whether any row
    of those that count has the feature.
    """

    ids: torch.Tensor
    activations: torch.Tensor
    active: torch.Tensor
    squared_errors: torch.Tensor
    seen: torch.Tensor


@dataclass(frozen=True, eq=False, repr=False)
class SparseAutoencoder(Displayed):
    """A sparse autoencoder (SAE) of the residual stream after one layer of the decoder.

    `gemma_lab.load_sae` reads one, `Lab.train_sae` trains one. Feature activations are
    ``σ((x′ − b_dec · apply_b_dec_to_input) W_enc + b_enc)`` with x′ the normalised input, and the
    reconstruction is ``activations · W_dec + b_dec``, scaled back.

    Attributes
    ----------
    layer
        The SAE reads the residual stream after this layer, as the next layer reads it.
    encoder, encoder_bias
        W_enc and b_enc, float32 ``[width, features]`` and ``[features]``.
    decoder, decoder_bias
        W_dec and b_dec, float32 ``[features, width]`` and ``[width]``.
    activation
        ``"relu"``; ``"topk"``: the `k` largest; ``"jumprelu"``: those above `threshold`.
    k
        Active features per token of ``"topk"``; None otherwise.
    threshold
        Float32 ``[features]`` of ``"jumprelu"``; None otherwise.
    normalization
        Of the input: ``"none"``, ``"layer_norm"`` or ``"constant_norm_rescale"`` (to a norm of √width).
    apply_b_dec_to_input
        Whether the decoder's bias is subtracted from the input.
    name
        Where it was read from, or what it was trained on.
    layout
        ``"sae_lens"``, ``"sparsify"``, ``"gemma_scope"``, ``"safetensors"`` or ``"trained here"``.
    trained_on
        Name of the model that it was trained on, as far as its files say; ``""`` otherwise.
    base_digest
        Digest of the weights that it was trained on (`gemma_lab.models.loading.weights_digest`); None if its
        files do not have one.
    min_variance_explained
        Fit below which its features are not interpreted.
    training
        What its training reported, as JSON values.
    """

    layer: int
    encoder: torch.Tensor
    encoder_bias: torch.Tensor
    decoder: torch.Tensor
    decoder_bias: torch.Tensor
    activation: Activation
    k: int | None = None
    threshold: torch.Tensor | None = None
    normalization: Normalization = "none"
    apply_b_dec_to_input: bool = True
    name: str = "SAE"
    layout: str = "trained here"
    trained_on: str = ""
    base_digest: Mapping[str, str] | None = None
    min_variance_explained: float = MIN_VARIANCE_EXPLAINED
    training: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", whole_number("layer", self.layer, minimum=0))
        least = real_number("min_variance_explained", self.min_variance_explained, minimum=-1e9, maximum=1.0)
        object.__setattr__(self, "min_variance_explained", least)
        if not isinstance(self.name, str):
            raise LabError(f"The name of an SAE is {short_repr(self.name)}.", hint="Pass a short text.")
        if self.encoder.ndim != 2:
            raise _bad(self.name, f"its encoder has shape {tuple(self.encoder.shape)}")
        width, features = self.encoder.shape
        shapes = {
            "encoder_bias": (features,),
            "decoder": (features, width),
            "decoder_bias": (width,),
            "threshold": (features,),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise _bad(
                    self.name,
                    f"{name} has shape {tuple(value.shape)} beside an encoder of {width} × {features}",
                )
        for name in ("encoder", *shapes):
            value = getattr(self, name)
            if value is not None and not bool(torch.isfinite(value).all()):
                raise _bad(self.name, f"{name} has values that are not finite")
        if (self.activation == "topk") != (self.k is not None) or not 1 <= (self.k or 1) <= features:
            raise _bad(
                self.name, f"its activation is {self.activation} with k={self.k} of {features:,} features"
            )
        if (self.activation == "jumprelu") != (self.threshold is not None):
            raise _bad(self.name, f"its activation is {self.activation}, and a threshold does not fit it")

    @property
    def width(self) -> int:
        """Size of the residual stream that it reads."""
        return int(self.encoder.shape[0])

    @property
    def features(self) -> int:
        """Number of features."""
        return int(self.encoder.shape[1])

    @property
    def kept(self) -> int:
        """How many features of a token are kept at most: k of ``"topk"``, 128 at most."""
        return min(self.k or self.features, MAX_KEPT, self.features)

    @property
    def device(self) -> torch.device:
        """Device of its weights; rows are brought there."""
        return self.encoder.device

    def to(self, device: Any) -> SparseAutoencoder:
        """Return the SAE with its weights on another device.

        Raises
        ------
        LabError
            If there is no such device, or it cannot hold them.
        """
        tensors = ("encoder", "encoder_bias", "decoder", "decoder_bias", "threshold")
        given = {name: getattr(self, name) for name in tensors}
        try:
            place = torch.device(device)  # .to() would take a dtype, too
            moved: dict[str, Any] = {n: None if t is None else t.to(place) for n, t in given.items()}
            return replace(self, **moved)
        except (RuntimeError, TypeError, AssertionError) as error:  # torch without CUDA asserts
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise LabError(
                f"The SAE {self.name} cannot be brought to {short_repr(device)}: {first}",
                hint='The device "cpu" works.',
            ) from error

    def direction(self, feature: int) -> NDArray[np.float32]:
        """Return the direction that a feature writes: its row of W_dec, float32 ``[width]``.

        Raises
        ------
        LabError
            If there is no such feature.
        """
        number = whole_number("feature", feature, minimum=0, maximum=self.features - 1)
        row: NDArray[np.float32] = self.decoder[number].detach().cpu().numpy().copy()
        return row

    def check_model(self, *, name: str, width: int, layers: int) -> None:
        """Raise `LabError` unless the SAE reads a stream that a model has.

        Parameters
        ----------
        name
            Of the model.
        width, layers
            Size of its residual stream, and its number of layers.
        """
        if self.width != width or self.layer >= layers:
            raise LabError(
                f"The SAE {self.name} reads {self.width:,} values after layer {self.layer}; {name} has "
                f"{layers} layers of {width:,}.",
                hint=f"It was trained on {self.trained_on or 'another model'}: load that one.",
            )

    def same_weights(self, digest: Mapping[str, str]) -> bool | None:
        """Return whether a model has the weights that the SAE was trained on; None if that is not known.

        Parameters
        ----------
        digest
            Of the model, as `gemma_lab.models.loading.weights_digest.weights_digest` returns it.
        """
        own = self.base_digest or {}
        both = [name for name in own if own[name] and digest.get(name)]
        return all(own[name] == digest[name] for name in both) if both else None

    @torch.no_grad()
    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the activations of all features, float32 ``[rows, features]``.

        Parameters
        ----------
        rows
            Of the residual stream after `layer`, ``[rows, width]``.

        Raises
        ------
        LabError
            If it is no tensor, or not as wide as the SAE.
        """
        return self._encode(self._normalized(self._rows(rows))[0])

    @torch.no_grad()
    def decode(self, activations: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of rows from the activations of all features, float32 ``[rows, width]``.

        Parameters
        ----------
        activations
            What `encode` returned, or an edited copy.
        rows
            The rows that were encoded: a normalisation is undone by their own mean and scale.

        Raises
        ------
        LabError
            If one of both is no tensor, or has another shape.
        """
        read = self._rows(rows)
        _require_tensor(activations, "activations")
        if tuple(activations.shape) != (len(read), self.features):
            raise LabError(
                f"The SAE {self.name} decodes {len(read):,} rows of {self.features:,} features, not "
                f"{tuple(activations.shape)}.",
                hint="Pass what sae.encode(rows) returned, or an edited copy, and the same rows.",
            )
        _, scale, shift = self._normalized(read)
        out: torch.Tensor = activations.to(self.device) @ self.decoder + self.decoder_bias
        return out if scale is None else out * scale + shift

    @torch.no_grad()
    def encoded(self, rows: torch.Tensor, *, counted: torch.Tensor | None = None) -> Encoded:
        """Return the strongest features of each row and the error of its reconstruction, on the CPU.

        Parameters
        ----------
        rows
            ``[n, width]``.
        counted
            Bool ``[n]``: rows that count for `Encoded.seen`; all by default.
        """
        seen = torch.zeros(self.features, dtype=torch.bool, device=self.device)
        parts: list[tuple[torch.Tensor, ...]] = []
        start = 0
        for block in self._blocks(self._rows(rows)):
            dense = self.encode(block)
            count = dense if counted is None else dense[counted[start : start + len(block)].to(self.device)]
            seen |= (count > 0).any(dim=0)
            error = (block - self.decode(dense, block)).square().sum(dim=-1)
            active = (dense > 0).sum(dim=-1)
            values, ids = dense.topk(self.kept, dim=-1)
            ids, values = _in_order(ids, values)
            parts.append((ids.cpu(), values.cpu(), active.cpu(), error.cpu()))
            start += len(block)
        if not parts:
            empty = torch.zeros(0, self.kept)
            return Encoded(empty.long(), empty, empty[:, 0].long(), empty[:, 0], seen.cpu())
        ids, values, active, error = (torch.cat(each) for each in zip(*parts, strict=True))
        return Encoded(ids, values, active, error, seen.cpu())

    def save(self, folder: str | Path) -> Path:
        """Write the SAE in sae_lens' layout (``cfg.json``, ``sae_weights.safetensors``); return the folder.

        Raises
        ------
        LabError
            If the folder cannot be written.
        """
        tensors = {
            "W_enc": self.encoder, "b_enc": self.encoder_bias, "W_dec": self.decoder,
            "b_dec": self.decoder_bias,
        }  # fmt: skip
        if self.threshold is not None:
            tensors["threshold"] = self.threshold
        config: dict[str, Any] = {
            "architecture": {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}[self.activation],
            "apply_b_dec_to_input": self.apply_b_dec_to_input,
            "normalize_activations": self.normalization,
        }
        if self.k is not None:
            config |= {"k": self.k, "rescale_acts_by_decoder_norm": False}
        digest = None if self.base_digest is None else dict(self.base_digest)
        own = {"base_digest": digest, "training": dict(self.training)}
        return write_sae(folder, tensors, config, layer=self.layer, trained_on=self.trained_on, own=own)

    def __repr__(self) -> str:
        kind = {"topk": f"TopK, k = {self.k}", "jumprelu": "JumpReLU", "relu": "ReLU"}[self.activation]
        name = " ".join(self.name.split())
        return f"SparseAutoencoder({name}: {self.features:,} features after layer {self.layer}, {kind})"

    def _rows(self, rows: torch.Tensor) -> torch.Tensor:
        _require_tensor(rows, "rows")
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise LabError(
                f"The SAE {self.name} reads rows of {self.width:,} values, not {tuple(rows.shape)}.",
                hint="Is it of this model? sae.width is the size of the residual stream that it needs.",
            )
        return rows.detach().to(self.device, torch.float32)

    def _blocks(self, rows: torch.Tensor) -> Iterator[torch.Tensor]:
        yield from (part for part in torch.split(rows, max(1, _BLOCK // self.features)) if len(part))

    def _normalized(
        self, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | float]:
        """Return normalised rows, and the scale and the shift that undo it."""
        if self.normalization == "layer_norm":
            mean = rows.mean(dim=-1, keepdim=True)
            deviation = (rows - mean).std(dim=-1, keepdim=True)
            return (rows - mean) / (deviation + _LN_EPS), deviation, mean
        if self.normalization == "constant_norm_rescale":
            scale = rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) / self.width**0.5
            return rows / scale, scale, 0.0
        return rows, None, 0.0

    def _encode(self, rows: torch.Tensor) -> torch.Tensor:
        centered = rows - self.decoder_bias if self.apply_b_dec_to_input else rows
        before = centered @ self.encoder + self.encoder_bias
        after = before.relu()
        if self.threshold is not None:
            return after * (before > self.threshold)
        if self.k is None:
            return after
        values, ids = after.topk(self.k, dim=-1, sorted=False)
        return torch.zeros_like(after).scatter_(-1, ids, values)


def _in_order(ids: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features of each row by activation, equal ones by id; −1 for those that are not active."""
    ids = ids.masked_fill(values <= 0, torch.iinfo(torch.int64).max)
    order = ids.argsort(dim=-1, stable=True)
    ids, values = ids.gather(-1, order), values.gather(-1, order)
    order = values.argsort(dim=-1, descending=True, stable=True)
    ids, values = ids.gather(-1, order), values.gather(-1, order).clamp_min(0)
    return ids.masked_fill(values <= 0, -1), values


def _require_tensor(value: Any, name: str) -> None:
    if not isinstance(value, torch.Tensor):
        raise LabError(
            f"{name} is {type_name(value)}, not a tensor.",
            hint="torch.from_numpy(array) is the tensor of an array.",
        )


def _bad(name: str, what: str) -> BadCheckpoint:
    return BadCheckpoint(
        f"The SAE {name} is not sound: {what}.", hint="Download it again, or train it again."
    )
