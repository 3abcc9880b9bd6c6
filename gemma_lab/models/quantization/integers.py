"""Weights as integers with one 16-bit scale a group: rounding, packing, and back to numbers.

A group is `group_size` consecutive inputs of one row. Codes are signed, −2ᵇ⁻¹ to 2ᵇ⁻¹ − 1, as in GGUF's Q8_0
and Q4_0; a weight is its code times the scale of its group, which may be negative. Two 4-bit codes share a
byte, the earlier one in its low half.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

WORKING_BYTES = 64 << 20
"""Bytes of dequantised experts, or rows of the output head, that exist at once, unless one alone is more."""

#: Weights that are searched for scales at once: bounds the working memory.
_CHUNK = 1 << 22
#: Fractions of the scale that clips no weight which are tried, by bits. More of them, or more refinements,
#: lower the squared error of normal weights by less than 1 %.
_FRACTIONS = {8: (1.0, 0.97), 4: (1.0, 0.92, 0.84, 0.76, 0.66)}
_SMALLEST = torch.finfo(torch.float16).smallest_normal


@dataclass(frozen=True)
class PackedWeights:
    """A matrix, or a stack of matrices, as integers.

    Attributes
    ----------
    codes
        ``[..., rows, columns]`` int8, or for 4 bits ``[..., rows, ⌈columns / 2⌉]`` uint8.
    scales
        ``[..., rows, ⌈columns / group_size⌉]`` float16; bfloat16 where a scale is too small for it.
    columns
        Weights of a row.
    bits
        8 or 4.
    group_size
        Weights that share a scale.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    columns: int
    bits: int
    group_size: int

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def dequantize(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the weights ``[..., rows, columns]``."""
        return dequantize(
            self.codes,
            self.scales,
            columns=self.columns,
            bits=self.bits,
            group_size=self.group_size,
            dtype=dtype,
        )


def quantize(weights: torch.Tensor, *, bits: int, group_size: int, search: bool = True) -> PackedWeights:
    """Round weights to integers.

    Parameters
    ----------
    weights
        ``[..., rows, columns]``, of any floating dtype, finite.
    bits
        8 or 4.
    group_size
        Weights of a row that share a scale. The last group of a row may be shorter.
    search
        Choose each scale for the smallest squared error of its group, among several that clip the largest
        weight or not, of either sign, each refined by least squares. Otherwise the largest weight of a group
        becomes the largest code.
    """
    *outer, columns = weights.shape
    size = min(group_size, columns)
    rows = weights.reshape(-1, columns)
    groups = -(-columns // size)
    codes = torch.empty(len(rows), columns, dtype=torch.int8, device=weights.device)
    scales = torch.empty(len(rows), groups, dtype=torch.float32, device=weights.device)
    step = max(1, _CHUNK // columns)
    for start in range(0, len(rows), step):
        part = rows[start : start + step].float()
        grouped = torch.nn.functional.pad(part, (0, groups * size - columns)).view(-1, size)
        found, scale = _round_groups(grouped, bits, search=search)
        codes[start : start + step] = found.view(len(part), -1)[:, :columns]
        scales[start : start + step] = scale.view(len(part), groups)
    kept = scales.to(_scale_dtype(scales))
    packed = codes if bits == 8 else _pack_nibbles(codes)
    return PackedWeights(
        packed.view(*outer, -1), kept.view(*outer, -1), columns=columns, bits=bits, group_size=size
    )


def dequantize(
    codes: torch.Tensor,
    scales: torch.Tensor,
    *,
    columns: int,
    bits: int,
    group_size: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the weights of packed codes, ``[..., rows, columns]``.

    Each is code × scale, computed in float32 and rounded once.
    """
    whole = codes if bits == 8 else _unpack_nibbles(codes, columns)
    exact = scales.float()
    made = torch.empty(whole.shape, dtype=dtype, device=whole.device)
    groups = scales.shape[-1]
    if groups * group_size == columns:
        shape = (*whole.shape[:-1], groups, group_size)
        torch.mul(whole.view(shape), exact.unsqueeze(-1), out=made.view(shape))
    else:
        torch.mul(whole, exact.repeat_interleave(group_size, dim=-1)[..., :columns], out=made)
    return made


def code_columns(columns: int, bits: int) -> int:
    """Return the last dimension of the codes of rows of `columns` weights."""
    return columns if bits == 8 else -(-columns // 2)


def group_count(columns: int, group_size: int) -> int:
    """Return the scales of a row of `columns` weights."""
    return -(-columns // min(group_size, columns))


def _round_groups(groups: torch.Tensor, bits: int, *, search: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return int8 codes ``[groups, size]`` and scales ``[groups]`` of float32 groups."""
    largest = groups.abs().amax(dim=1)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    if not search:
        scale = _storable(largest / high)
        return _codes(groups, scale, low, high), scale
    best_scale = _storable(largest / high)
    best_error = _error(groups, best_scale, low, high)
    # the sign that lets the largest weight take the code that only one sign has
    extreme = groups.gather(1, groups.abs().argmax(dim=1, keepdim=True)).squeeze(1)
    for fraction in _FRACTIONS[bits]:
        for first in (extreme / low * fraction, largest / high * fraction):
            whole = _codes(groups, _storable(first), low, high).float()
            norm = (whole * whole).sum(dim=1)
            scale = _storable(torch.where(norm > 0, (whole * groups).sum(dim=1) / norm.clamp_min(1), first))
            error = _error(groups, scale, low, high)
            better = error < best_error
            best_error = torch.where(better, error, best_error)
            best_scale = torch.where(better, scale, best_scale)
    return _codes(groups, best_scale, low, high), best_scale


def _codes(groups: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    return (groups / safe.unsqueeze(1)).round_().clamp_(low, high).to(torch.int8)


def _error(groups: torch.Tensor, scale: torch.Tensor, low: int, high: int) -> torch.Tensor:
    return (_codes(groups, scale, low, high) * scale.unsqueeze(1) - groups).square_().sum(dim=1)


def _storable(scale: torch.Tensor) -> torch.Tensor:
    """Round scales as they are stored, so that codes are chosen for the scale that they get."""
    return scale.to(_scale_dtype(scale)).float()


def _scale_dtype(scales: torch.Tensor) -> torch.dtype:
    """Return float16, or bfloat16 if a scale is outside its normal range (it has float32's exponents)."""
    sizes = scales.abs()
    outside = ((sizes > 0) & (sizes < _SMALLEST)) | (sizes > torch.finfo(torch.float16).max)
    return torch.bfloat16 if bool(outside.any()) else torch.float16


def _pack_nibbles(codes: torch.Tensor) -> torch.Tensor:
    even = torch.nn.functional.pad(codes, (0, codes.shape[-1] % 2)) + 8
    return (even[..., 0::2] | (even[..., 1::2] << 4)).to(torch.uint8)


def _unpack_nibbles(packed: torch.Tensor, columns: int) -> torch.Tensor:
    low, high = (packed & 0x0F).to(torch.int8), (packed >> 4).to(torch.int8)
    whole = torch.stack((low, high), dim=-1).flatten(-2).sub_(8)
    return whole if whole.shape[-1] == columns else whole[..., :columns].contiguous()
