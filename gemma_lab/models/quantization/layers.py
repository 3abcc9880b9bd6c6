"""Modules whose weights are integers: linear layers, fused experts, embedding tables, and a tied output head.

Each multiplies with dequantised weights, made for the call and dropped after it: a linear layer its matrix,
the experts some at a time, the output head some rows at a time. The parameters keep the names that they have
in transformers (``weight``, ``gate_up_proj``, ``down_proj``) and hold codes; ``…_scales`` beside them are
buffers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .integers import WORKING_BYTES, code_columns, dequantize, group_count

SCALES = "_scales"
"""What the name of the scales adds to that of the codes."""


class IntLinear(nn.Linear):
    """A linear layer with integer weights.

    Parameters
    ----------
    linear
        The layer it replaces: its shape and its bias are kept, its weights are not read.
    bits, group_size
        As for `gemma_lab.models.quantization.integers.quantize`.
    """

    def __init__(self, linear: nn.Linear, *, bits: int, group_size: int) -> None:
        nn.Module.__init__(self)  # not Linear's, which would make 16- or 32-bit weights first
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bits, self.group_size = bits, min(group_size, linear.in_features)
        _register(self, "weight", (self.out_features, self.in_features))
        self.bias = linear.bias

    def dequantized(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the weights ``[out_features, in_features]``."""
        return _numbers(self, "weight", self.in_features, dtype)

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 — as in torch
        """Return ``input @ weight.T + bias``."""
        return nn.functional.linear(input, self.dequantized(input.dtype), self.bias)

    def extra_repr(self) -> str:
        """Return what the repr of a module shows."""
        return f"{super().extra_repr()}, bits={self.bits}, group_size={self.group_size}"


class IntExperts(nn.Module):
    """The experts of a layer with integer weights, stacked as in transformers' ``Gemma4TextExperts``.

    Parameters
    ----------
    experts
        The module it replaces: its shapes and its activation are kept, its weights are not read.
    bits, group_size
        As for `gemma_lab.models.quantization.integers.quantize`.
    """

    def __init__(self, experts: Any, *, bits: int, group_size: int) -> None:
        super().__init__()
        self.num_experts, gate_up, self.hidden_dim = experts.gate_up_proj.shape
        self.intermediate_dim = gate_up // 2
        self.act_fn, self.config = experts.act_fn, getattr(experts, "config", None)
        self.bits, self.group_size = bits, group_size
        _register(self, "gate_up_proj", tuple(experts.gate_up_proj.shape))
        _register(self, "down_proj", tuple(experts.down_proj.shape))

    def dequantized(
        self, name: str, experts: slice | torch.Tensor = slice(None), dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Return ``"gate_up_proj"`` or ``"down_proj"`` of some experts, ``[experts, rows, columns]``."""
        columns = self.hidden_dim if name == "gate_up_proj" else self.intermediate_dim
        return _numbers(self, name, columns, dtype, experts)

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Return the weighted sum of each token's experts, ``[tokens, hidden]``.

        Parameters
        ----------
        hidden_states
            ``[tokens, hidden]``.
        top_k_index, top_k_weights
            The experts of each token and their gate weights, ``[tokens, k]``.
        """
        tokens, top_k = top_k_index.shape
        chosen, order = top_k_index.reshape(-1).sort(stable=True)
        used, counts = torch.unique(chosen, return_counts=True)
        ends = counts.cumsum(0).tolist()
        parts = []
        dtype = hidden_states.dtype
        at_once = max(1, WORKING_BYTES // (3 * self.intermediate_dim * self.hidden_dim * dtype.itemsize))
        start = 0
        for first in range(0, len(ends), at_once):
            ids = used[first : first + at_once]
            gate_up = self.dequantized("gate_up_proj", ids, dtype)
            down = self.dequantized("down_proj", ids, dtype)
            for place, end in enumerate(ends[first : first + at_once]):
                rows = hidden_states[order[start:end] // top_k]
                gate, up = nn.functional.linear(rows, gate_up[place]).chunk(2, dim=-1)
                parts.append(nn.functional.linear(self.act_fn(gate) * up, down[place]))
                start = end
        if not parts:  # no token
            return torch.zeros_like(hidden_states)
        by_expert = torch.cat(parts)
        outputs = torch.empty_like(by_expert).index_copy(0, order, by_expert)
        # in the precision of the gate weights, float32, as transformers' grouped experts do
        weighted = outputs * top_k_weights.reshape(-1, 1)
        return weighted.view(tokens, top_k, -1).sum(dim=1).to(dtype)

    def extra_repr(self) -> str:
        """Return what the repr of a module shows."""
        return (
            f"num_experts={self.num_experts}, hidden_dim={self.hidden_dim}, "
            f"intermediate_dim={self.intermediate_dim}, bits={self.bits}, group_size={self.group_size}"
        )


class IntTable(nn.Module):
    """An embedding table while its weights are read: they are in ``weight``, as in the checkpoint.

    Parameters
    ----------
    embedding
        The table it replaces: its shape and its scale are kept, its weights are not read.
    bits, group_size
        As for `gemma_lab.models.quantization.integers.quantize`.
    """

    def __init__(self, embedding: Any, *, bits: int, group_size: int) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = embedding.num_embeddings, embedding.embedding_dim
        self.padding_idx = embedding.padding_idx
        self.scalar_embed_scale = float(getattr(embedding, "scalar_embed_scale", 1.0))
        self.bits, self.group_size = bits, min(group_size, self.embedding_dim)
        self.output_dtype = embedding.weight.dtype
        self.stored = "weight"
        _register(self, "weight", (self.num_embeddings, self.embedding_dim))

    def finish(self) -> None:
        """Become an `IntEmbedding`, in place: accelerate may have put hooks on this module."""
        self.stored = "codes"
        self.register_parameter("codes", self._parameters.pop("weight"))
        self.register_buffer(f"codes{SCALES}", self._buffers.pop(f"weight{SCALES}"))
        self.__class__ = IntEmbedding

    def dequantized(self, rows: Any = slice(None), dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return rows of the table, by slice, number or ids, ``[…, embedding_dim]``."""
        return _numbers(self, self.stored, self.embedding_dim, dtype, rows)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return the scaled embeddings of ids, ``[…, embedding_dim]``."""
        found = self.dequantized(input_ids, self.output_dtype)
        return found * torch.tensor(self.scalar_embed_scale, dtype=found.dtype, device=found.device)

    def extra_repr(self) -> str:
        """Return what the repr of a module shows."""
        return f"{self.num_embeddings}, {self.embedding_dim}, bits={self.bits}, group_size={self.group_size}"


class IntEmbedding(IntTable):
    """An embedding table with integer weights, scaled as in transformers' ``Gemma4TextScaledWordEmbedding``.

    ``weight[ids]`` are numbers, not codes: transformers reads the padding row that way.
    """

    @property
    def weight(self) -> _Rows:
        """Rows of the table, dequantised when they are indexed, without the scale of the embedding."""
        return _Rows(self)


class IntTiedHead(nn.Module):
    """An output head that multiplies with the rows of an `IntEmbedding`, `WORKING_BYTES` at a time."""

    bias = None

    def __init__(self, embedding: IntEmbedding) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple: not a second owner of its parameters
        self.in_features, self.out_features = embedding.embedding_dim, embedding.num_embeddings

    @property
    def weight(self) -> _Rows:
        """Rows of the head, dequantised when they are indexed."""
        return self._embedding[0].weight

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 — as in torch
        """Return the logits ``[…, vocabulary]``."""
        (table,) = self._embedding
        rows = max(1, WORKING_BYTES // (self.in_features * input.dtype.itemsize))
        parts = []
        for start in range(0, self.out_features, rows):
            weights = table.dequantized(slice(start, start + rows), input.dtype)
            parts.append(nn.functional.linear(input, weights.to(input.device)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class _Rows:
    """The rows of a packed table, as far as transformers reads the ``weight`` of an embedding."""

    def __init__(self, table: IntEmbedding) -> None:
        self._table = table
        self.dtype = table.output_dtype
        self.shape = torch.Size((table.num_embeddings, table.embedding_dim))
        self.requires_grad = False

    @property
    def device(self) -> torch.device:
        """Where the codes lie."""
        codes: torch.Tensor = self._table.get_parameter("codes")
        return codes.device

    def __getitem__(self, key: Any) -> torch.Tensor:
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if not (isinstance(rows, int | slice) or (torch.is_tensor(rows) and not rows.is_floating_point())):
            return self._table.dequantized(dtype=self.dtype)[key]
        found = self._table.dequantized(rows, self.dtype)
        if not rest:
            return found
        kept = () if isinstance(rows, int) else (slice(None),)
        return found[(*kept, *rest)]


def packed_parameters(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return parameters of a module that hold codes → the shape of the weights that they stand for."""
    if isinstance(module, IntLinear):
        return {"weight": (module.out_features, module.in_features)}
    if isinstance(module, IntExperts):
        return {
            "gate_up_proj": (module.num_experts, 2 * module.intermediate_dim, module.hidden_dim),
            "down_proj": (module.num_experts, module.hidden_dim, module.intermediate_dim),
        }
    if isinstance(module, IntTable):
        return {module.stored: (module.num_embeddings, module.embedding_dim)}
    return {}


def _register(module: Any, name: str, shape: tuple[int, ...]) -> None:
    *outer, columns = shape
    codes = torch.empty(
        *outer, code_columns(columns, module.bits), dtype=torch.int8 if module.bits == 8 else torch.uint8
    )
    module.register_parameter(name, nn.Parameter(codes, requires_grad=False))
    scales = torch.empty(*outer, group_count(columns, module.group_size), dtype=torch.float16)
    module.register_buffer(name + SCALES, scales)


def _numbers(
    module: Any, name: str, columns: int, dtype: torch.dtype, rows: Any = slice(None)
) -> torch.Tensor:
    return dequantize(
        getattr(module, name)[rows],
        getattr(module, name + SCALES)[rows],
        columns=columns,
        bits=module.bits,
        group_size=min(module.group_size, columns),
        dtype=dtype,
    )
