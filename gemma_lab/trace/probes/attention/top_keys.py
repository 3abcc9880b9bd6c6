"""The top keys of every row, exactly, in a small fraction of the time that the rows take."""

from __future__ import annotations

from functools import lru_cache

import torch

#: Rows of at most this many weights are sorted without folding.
_SHORT = 64
#: Lines that a row is folded into: a few when many columns are left, more when one fold suffices.
_FEW, _MOST = 8, 16
#: Widths in which the maxima of columns are found at full speed.
_WIDTHS = (32, 64)
#: The bits of a packed number that hold the index.
_INDEX = (1 << 28) - 1


def top_keys(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest weights of every row, and their indices.

    A row is folded into lines one below the other. The k largest lie in the columns with the k largest
    maxima, so most of the row is read once. Of equal weights the earlier comes first (and is taken, as far as
    their columns go).

    Parameters
    ----------
    rows
        float32 ``[…, span]``, none of them negative.
    k
        At most ``span``.

    Returns
    -------
    values
        float32 ``[…, k]``, the largest first.
    indices
        int64 ``[…, k]``.
    """
    if rows.device.type != "cpu":
        values, indices = rows.topk(k, dim=-1)
        return values, indices
    packed = _packed(rows, k).flip(-1)
    return packed.view(torch.float64).float(), _indices(packed)


def _packed(rows: torch.Tensor, k: int) -> torch.Tensor:
    """Return the k largest of every row, each with its index in one number, the largest last.

    Earlier indices are larger numbers, so that they win among equal weights.
    """
    lines = _lines(rows.shape[-1], k)
    if lines == 1:
        ranks = _ranks(1, rows.shape[-1])[0]
    else:
        folded = rows.view(*rows.shape[:-1], lines, -1)
        columns = _indices(_packed(folded.amax(dim=-2), k)).unsqueeze(-2)
        rows = folded.gather(-1, columns.expand(*folded.shape[:-1], k))
        ranks = _ranks(lines, folded.shape[-1])[:, :1] - columns
    packed = rows.double().view(torch.int64).bitwise_or_(ranks)
    packed = packed if lines == 1 else packed.flatten(-2)
    packed.numpy().sort(axis=-1)
    return packed[..., -k:]


@lru_cache(maxsize=64)
def _ranks(lines: int, width: int) -> torch.Tensor:
    """Return what goes into the lowest bits: int64 ``[lines, width]``, larger for earlier indices."""
    return (_INDEX - torch.arange(lines * width)).view(lines, width)


def _indices(packed: torch.Tensor) -> torch.Tensor:
    return packed.bitwise_not().bitwise_and_(_INDEX)


def _lines(span: int, k: int) -> int:
    """Return how many lines to fold a row into; 1 where that does not pay."""
    if span <= max(_SHORT, 2 * k):
        return 1
    for width in _WIDTHS:
        if span % width == 0 and width >= k and span // width <= _MOST:
            return span // width
    return _FEW if span % _FEW == 0 and span > _FEW * k else 1
