"""The heaviest keys of every row, exactly, in time that is small beside the rows' own."""

from __future__ import annotations

import torch

#: Rows of up to so many weights are sorted as they are.
_SHORT = 64
#: Lines that a row is folded into: a few when many columns are left, more when one fold suffices.
_FEW, _MOST = 8, 16
#: Widths in which the maxima of columns are found at full speed.
_WIDTHS = (32, 64)
#: Where a sorted number keeps its place: a float32 leaves 29 bits of a float64's fraction at zero.
_PLACE = (1 << 28) - 1


def heaviest(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the k largest of every row, and where they are.

    A row is folded into lines one below the other. The k largest lie in the columns with the k largest
    maxima, so most of the row is looked at once. Of equal weights any may be taken.

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
    places
        int64 ``[…, k]``.
    """
    lines = _lines(rows.shape[-1], k)
    if lines == 1:
        return _sorted(rows, k)
    folded = rows.unflatten(-1, (lines, -1))
    columns = heaviest(folded.amax(dim=-2), k)[1]
    candidates = folded.gather(-1, columns.unsqueeze(-2).expand(*folded.shape[:-1], k)).flatten(-2)
    values, at = _sorted(candidates, k)
    return values, columns.gather(-1, at % k) + at // k * folded.shape[-1]


def _lines(span: int, k: int) -> int:
    """Return how many lines to fold a row into; 1 where that does not pay."""
    for width in _WIDTHS:
        if span % width == 0 and width >= k and span // width <= _MOST:
            return span // width if span > max(_SHORT, 2 * k) else 1
    return _FEW if span % _FEW == 0 and span > max(_SHORT, _FEW * k) else 1


def _sorted(rows: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    if rows.device.type != "cpu":
        values, places = rows.topk(k, dim=-1)
        return values, places
    # topk() sorts pairs one row after the other, with a branch for every comparison. Each weight with its
    # place in the bits that a float32 leaves empty is one number, and numpy sorts those with vectors
    span = rows.shape[-1]
    packed = rows.double().view(torch.int64)
    packed.bitwise_or_(torch.arange(span - 1, -1, -1))  # of equal weights the first is the largest number
    packed.numpy().sort(axis=-1)
    packed = packed[..., -k:].flip(-1)
    return packed.view(torch.float64).float(), (span - 1) - (packed & _PLACE)
