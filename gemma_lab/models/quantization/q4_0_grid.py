"""Whether weights lie on the grid of Q4_0: one scale for 32 weights of a row, codes from −8 to 7.

Weights of a quantisation-aware training (QAT) for Q4_0 do, up to the rounding of the 16-bit checkpoint that
holds them; packing those to int4 with groups of 32 loses nothing. Other weights do not, apart from chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...checks import no_loaded_model
from ...display import Displayed
from ...errors import LabError
from .integers import quantize
from .parts import part_of
from .weight_bits import NAMES, is_quantized, method_name

if TYPE_CHECKING:
    import pandas as pd

BLOCK = 32
"""Weights of a Q4_0 block (llama.cpp, ``QK4_0``)."""

_MATRICES = ("embedding", "ple_table", "ple", "attention", "mlp", "experts")
#: A weight may differ from the grid by this fraction of itself: half a last place of bfloat16.
_ROUNDING = 2.0**-8
_BLOCKS = 4096  # of a weight that are looked at
_ON_GRID = 0.99
_CHUNK = 1 << 15  # blocks at once
_LARGEST_CODES = (8, 7, 6, 5, 4)  # of a block: 8 as Q4_0 makes it
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class PartOnGrid:
    """How much of one part lies on the grid.

    Attributes
    ----------
    part
        A key of `gemma_lab.family.PARAMETER_GROUPS`.
    blocks
        Blocks that were looked at.
    on_grid
        Those whose 32 weights all lie on a grid.
    levels
        Mean number of different weights of a block; at most 16 on a grid.
    """

    part: str
    blocks: int
    on_grid: int
    levels: float

    @property
    def label(self) -> str:
        """What the part is called."""
        return NAMES[self.part]

    @property
    def fraction(self) -> float:
        """Fraction of blocks on the grid."""
        return self.on_grid / self.blocks


@dataclass(frozen=True)
class QatGrid(Displayed):
    """Which parts of a model's weights lie on a Q4_0 grid.

    Attributes
    ----------
    name
        The model's name.
    parts
        Each part whose matrices have rows of whole blocks.
    chance
        Upper bound of the probability that a block of other weights, with continuous values, lies on a grid.
    left_out
        Parts of which some matrices were not looked at → why.
    """

    name: str
    parts: tuple[PartOnGrid, ...]
    chance: float
    left_out: dict[str, str] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"QatGrid({self.name}: {self.verdict})"

    @property
    def on_grid(self) -> tuple[str, ...]:
        """Parts of which at least 99 % of the blocks lie on a grid."""
        return tuple(part.part for part in self.parts if part.fraction >= _ON_GRID)

    @property
    def verdict(self) -> str:
        """What the counts say, in words."""
        if not self.parts:
            return "no matrix has rows of whole blocks of 32"
        found = self.on_grid
        if len(found) == len(self.parts):
            which = "every matrix with rows of whole blocks" if self.left_out else "every matrix"
            return f"{which} lies on a Q4_0 grid; int4 with groups of 32 keeps that exactly"
        if found:
            listed = ", ".join(NAMES[part] for part in found)
            return f"on a Q4_0 grid: {listed}; the rest is not"
        return "not on a Q4_0 grid"

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per part: ``part, blocks, on_grid, fraction, levels``."""
        import pandas as pd

        return pd.DataFrame(
            {
                "part": [part.label for part in self.parts],
                "blocks": [part.blocks for part in self.parts],
                "on_grid": [part.on_grid for part in self.parts],
                "fraction": [part.fraction for part in self.parts],
                "levels": [part.levels for part in self.parts],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "chance": self.chance,
            "parts": {
                part.part: {"blocks": part.blocks, "on_grid": part.on_grid, "levels": part.levels}
                for part in self.parts
            },
            "left_out": dict(self.left_out),
        }


def qat_grid(lab: Any) -> QatGrid:
    """Test whether a model's weights lie on a Q4_0 grid, part by part.

    Parameters
    ----------
    lab
        A `gemma_lab.Lab` that was loaded without a quantisation: packed weights lie on a grid of their own.

    Returns
    -------
    QatGrid
        Fraction of the blocks of 32 weights that lie on a grid, in up to 4,096 blocks of each weight, and
        the fraction to expect by chance.

    Raises
    ------
    LabError
        If the model is quantised already, or none of this process.

    Examples
    --------
    >>> gl.qat_grid(gl.load("12b-it-qat-q4_0-unquantized")).on_grid
    ('embedding', 'attention', 'mlp')
    """
    _require_plain(lab, "gl.qat_grid")
    counts: dict[str, list[tuple[int, int, float]]] = {}
    left_out: dict[str, str] = {}
    for name, weight in lab.model.named_parameters():
        part = part_of(name)
        if part not in _MATRICES or weight.ndim < 2 or weight.device.type == "meta":
            continue
        if weight.shape[-1] % BLOCK:
            left_out[part] = f"rows of {weight.shape[-1]} weights are not whole blocks of {BLOCK}"
            continue
        counts.setdefault(part, []).append(_count(weight.detach()))
    parts = tuple(
        PartOnGrid(
            part,
            blocks=sum(row[0] for row in rows),
            on_grid=sum(row[1] for row in rows),
            levels=sum(row[0] * row[2] for row in rows) / sum(row[0] for row in rows),
        )
        for part in _MATRICES
        if (rows := counts.get(part))
    )
    return QatGrid(name=lab.name, parts=parts, chance=chance_level(), left_out=left_out)


def chance_level() -> float:
    """Return an upper bound of the probability that a block of continuous weights lies on a grid by chance.

    Say the largest weight fixes the scale, with one of the codes 4 to 8. Rounding allows another weight to
    differ from its q steps by 2 × 2⁻⁸ of itself, which is a fraction 2 × 2|q| × 2⁻⁸, at most 1/8, of the
    values that round to q; the other 31 must all be that near: 5 × (1/8)³¹.
    """
    near = 2 * 2 * 8 * _ROUNDING
    return float(len(_LARGEST_CODES) * near ** (BLOCK - 1))


def to_q4_0_grid(lab: Any) -> None:
    """Round a model's matrices to a Q4_0 grid, in place: weights as of a QAT checkpoint, untrained.

    Parameters
    ----------
    lab
        A `gemma_lab.Lab` that was loaded without a quantisation; load it again to have its weights back. A
        row that is not whole blocks has one shorter block at its end. Router, norms and towers are left.

    Raises
    ------
    LabError
        If the model is quantised already, or none of this process.

    Examples
    --------
    >>> rounded = gl.load("mini-moe")
    >>> gl.to_q4_0_grid(rounded)
    >>> gl.versus(gl.load("mini-moe"), rounded)
    """
    _require_plain(lab, "gl.to_q4_0_grid")
    round_to_grid(rounded_matrices(lab.model))


def rounded_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the weights that Q4_0 rounds, each once: not router, norms and towers."""
    return [
        weight for name, weight in model.named_parameters() if part_of(name) in _MATRICES and weight.ndim >= 2
    ]


@torch.no_grad()
def round_to_grid(weights: Iterable[torch.Tensor]) -> None:
    """Round weights to a Q4_0 grid, in place."""
    for weight in weights:
        weight.copy_(quantize(weight, bits=4, group_size=BLOCK).dequantize())


def _require_plain(lab: Any, call: str) -> None:
    if not isinstance(getattr(lab, "model", None), torch.nn.Module):
        raise no_loaded_model(lab, call)
    if is_quantized(lab.model):
        raise LabError(
            f"{lab.name} is quantised already ({method_name(lab.model)}), so its weights are on that grid.",
            hint="Load it without quantization=….",
        )


def _count(weight: torch.Tensor) -> tuple[int, int, float]:
    """Return blocks, blocks on a grid, and mean number of levels, of a sample of a weight's blocks."""
    rows = weight.reshape(-1, BLOCK)
    step = max(1, len(rows) // _BLOCKS)
    sample = rows[::step][:_BLOCKS].float()
    on_grid, levels = 0, 0.0
    for start in range(0, len(sample), _CHUNK):
        blocks = sample[start : start + _CHUNK]
        on_grid += int(_on_grid(blocks).sum())
        ordered = blocks.sort(dim=1).values
        levels += float((ordered[:, 1:] != ordered[:, :-1]).sum()) + len(blocks)
    return len(sample), on_grid, levels / len(sample)


def _on_grid(blocks: torch.Tensor) -> torch.Tensor:
    """Return which blocks lie on a grid, ``[blocks]`` bool; a block of zeros does."""
    sizes = blocks.abs()
    largest = sizes.amax(dim=1)
    found = largest == 0
    for code in _LARGEST_CODES:
        whole = (blocks / (largest / code).clamp_min(_TINY)[:, None]).round()
        steps = whole.abs()
        # the scales with which a weight is its code times the scale, rounded: they must overlap
        zero = steps == 0
        low = torch.where(zero, 0.0, sizes * (1 - _ROUNDING) / steps).amax(dim=1)
        high = torch.where(zero, torch.inf, sizes * (1 + _ROUNDING) / steps).amin(dim=1)
        # of either sign, 16 codes: -8 to 7, or with a negative scale -7 to 8
        inside = (whole.amax(1) - whole.amin(1) <= 15) & (sizes * zero == 0).all(dim=1)
        found |= inside & (low <= high)
    return found
