"""The cells of causal maps: what of a run is patched at once, and with what."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...checks import short_repr
from ...errors import LabError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ...trace.records.activations import Site
    from .pair import PatchRun

#: What a map is about. The first four by layer and span of tokens, the others by layer and unit.
Part = Literal["residual", "attention", "mlp", "experts", "head", "expert"]
PARTS: tuple[Part, ...] = get_args(Part)
#: The parts whose columns are spans of tokens.
BY_SPAN: tuple[Part, ...] = PARTS[:4]
#: The sites whose activations a part's patches replace.
SITES: dict[Part, Site] = {
    "residual": "residual", "attention": "attention", "mlp": "mlp", "experts": "experts",
    "head": "attention", "expert": "experts",
}  # fmt: skip
#: Columns of a map at most, where the spans are not given.
MAX_SPANS = 128

Span = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """One patch: a part of one layer, at some tokens.

    Attributes
    ----------
    part
        What is patched.
    layer
        The model's own layer index.
    column
        Index of the span, or of the head or expert.
    positions
        The tokens.
    """

    part: Part
    layer: int
    column: int
    positions: tuple[int, ...]

    @property
    def site(self) -> Site:
        """The site whose activations are replaced."""
        return SITES[self.part]


@dataclass(eq=False)
class CellValues:
    """The activations that each cell writes into a run.

    Attributes
    ----------
    base
        The run that is changed.
    source
        The run that the activations are from.
    """

    base: PatchRun
    source: PatchRun
    #: Of the experts of one layer, by run: those of all layers would take much memory.
    _contributions: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def of(self, cell: Cell) -> torch.Tensor:
        """Return what a cell writes, ``[positions, width]``."""
        return self._whole(cell, self.source)[list(cell.positions)]

    def before(self, cell: Cell) -> torch.Tensor:
        """Return what is there without the cell, ``[positions, width]``."""
        if cell.part == "residual":
            return self.base.run.after(cell.layer)[list(cell.positions)]
        return self.base.branches.outputs[cell.site][cell.layer][list(cell.positions)]

    def changed(self, cell: Cell, first: int = 0) -> Cell | None:
        """Return a cell with those of its tokens that it changes, from one on; None if it has none."""
        if cell.positions[-1] < first:
            return None
        differs = (self.of(cell) != self.before(cell)).any(-1).tolist()
        places = zip(cell.positions, differs, strict=True)
        kept = tuple(token for token, other in places if other and token >= first)
        return replace(cell, positions=kept) if kept else None

    def _whole(self, cell: Cell, source: PatchRun) -> torch.Tensor:
        if cell.part == "residual":
            return source.run.after(cell.layer)
        if cell.part == "head":
            return self.base.branches.replaced_head(cell.layer, cell.column, self.source.branches)
        if cell.part == "expert":
            return self._expert(cell.layer, cell.column)
        return source.branches.outputs[cell.site][cell.layer]

    def _expert(self, layer: int, expert: int) -> torch.Tensor:
        """Return the sum of the experts with one expert's weighted output of the other run."""
        whole = self.base.branches.outputs["experts"][layer]
        given, taken = (self._contribution(number, layer, expert) for number in (1, 0))
        return (whole.float() + given - taken).to(whole.dtype)

    def _contribution(self, number: int, layer: int, expert: int) -> torch.Tensor:
        branches = (self.base, self.source)[number].branches
        if (number, layer) not in self._contributions:
            if all(layer != kept for _, kept in self._contributions):
                self._contributions.clear()
            self._contributions[number, layer] = branches.contributions(layer)
        chosen = branches.expert_calls[layer].ids == expert
        return (self._contributions[number, layer].float() * chosen[..., None]).sum(1)


def cells_of(
    part: Part, base: PatchRun, source: PatchRun, *, spans: Sequence[Span], positions: tuple[int, ...]
) -> tuple[tuple[int, ...], int, list[Cell]]:
    """Return the layers of a part, its number of columns, and its cells.

    Parameters
    ----------
    part
        What is patched.
    base, source
        The two runs.
    spans
        Of tokens, the columns of parts by span.
    positions
        The tokens at which heads and experts are patched.

    Returns
    -------
    layers, columns, cells
        An expert is a cell where one of the two runs sends one of the tokens to it.
    """
    branches = base.branches
    if part in BY_SPAN:
        site = SITES[part]
        layers = tuple(range(len(base.run.calls))) if part == "residual" else tuple(branches.outputs[site])
        cells = [
            Cell(part, layer, column, tuple(range(*span)))
            for layer in layers
            for column, span in enumerate(spans)
        ]
        return layers, len(spans), cells
    if part == "head":
        counts = branches.head_counts
        cells = [Cell(part, layer, head, positions) for layer in counts for head in range(counts[layer])]
        return tuple(counts), max(counts.values(), default=0), cells
    chosen = {layer: _chosen(base, source, layer, positions) for layer in branches.expert_calls}
    cells = [Cell(part, layer, expert, positions) for layer, listed in chosen.items() for expert in listed]
    count = max((router.experts for router in branches.routers.values()), default=0)
    return tuple(chosen), count, cells


def _chosen(base: PatchRun, source: PatchRun, layer: int, positions: tuple[int, ...]) -> list[int]:
    found: set[int] = set()
    for run in (base, source):
        found |= set(run.branches.expert_calls[layer].ids[list(positions)].flatten().tolist())
    return sorted(found)


def as_parts(parts: str | Sequence[str], available: Sequence[Part]) -> tuple[Part, ...]:
    """Return the parts of a map, in the order of `PARTS`.

    Raises
    ------
    LabError
        If one does not exist, or the model does not have it.
    """
    if isinstance(parts, str) and parts == "all":
        return tuple(available)
    if not isinstance(parts, str | Iterable) or isinstance(parts, bytes | Mapping):
        raise LabError(f"parts is {short_repr(parts)}.", hint=f"Pass some of {', '.join(map(repr, PARTS))}.")
    listed = [parts] if isinstance(parts, str) else list(parts)
    unknown = [each for each in listed if not isinstance(each, str) or each not in PARTS]
    missing = [each for each in listed if each not in available]
    if not listed or unknown or missing:
        what = (
            f"parts names {short_repr(unknown[0])}, which is no part of a layer."
            if unknown
            else f"parts names {short_repr(missing[0])}, which this model does not have."
            if missing
            else "parts is empty."
        )
        raise LabError(what, hint=f'It has {", ".join(map(repr, available))}, or "all".')
    return tuple(part for part in PARTS if part in listed)


def as_spans(spans: Any, total: int) -> tuple[Span, ...]:
    """Return spans of tokens: one per token, of equal length, or those given.

    Raises
    ------
    LabError
        If they are not spans of the `total` tokens.
    """
    if spans is None:
        spans = -(-total // MAX_SPANS)
    each = as_whole(spans)
    if each is not None and each > 0:
        return tuple((start, min(start + each, total)) for start in range(0, total, each))
    listed = list(spans) if isinstance(spans, Iterable) and not isinstance(spans, str | bytes) else []
    if not listed:
        raise LabError(
            f"spans is {short_repr(spans)}.", hint="Pass (start, stop) pairs, or a number of tokens per span."
        )
    return tuple(_as_span(span, total) for span in listed)


def _as_span(span: Any, total: int) -> Span:
    listed = list(span) if isinstance(span, Iterable) and not isinstance(span, str | bytes) else []
    match [as_whole(each) for each in listed]:
        case [int(start), int(stop)] if 0 <= start < stop <= total:
            return start, stop
    raise LabError(
        f"{short_repr(span)} is no span of {total:,} tokens.",
        hint="Pass (start, stop) pairs: spans=[(4, 9), (9, 12)], or a number of tokens per span.",
    )


def as_whole(value: Any) -> int | None:
    """Return a number of any integer type as an `int`, None for anything else; a bool is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def as_positions(positions: Sequence[int] | None, total: int) -> tuple[int, ...]:
    """Return tokens, negative ones from the end, each once and ascending; all by default.

    Raises
    ------
    LabError
        If one does not exist.
    """
    from ...trace.records.activations import select_indices

    return tuple(sorted(select_indices(positions, count=total, what="position")))


def random_directions(values: CellValues, cell: Cell, random: np.random.Generator) -> torch.Tensor:
    """Return a random change of a cell, at each token as large as the cell's own, ``[positions, width]``."""
    import torch

    before = values.before(cell)
    change = (values.of(cell) - before).float()
    drawn = torch.from_numpy(random.standard_normal(tuple(change.shape))).to(change.device, change.dtype)
    drawn *= change.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return (before.float() + drawn).to(before.dtype)
