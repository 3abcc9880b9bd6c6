"""Causal maps as results: the effect of each patch on the answer, beside what patches by chance do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import short_repr, whole_number
from ...display import Displayed
from ...errors import LabError
from ..statistics import rank_correlation
from .cells import BY_SPAN, PARTS, Part, Span
from .grid import CausalEffect, CausalGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from ...models.tokens.table import TokenTable
    from ...trace.interventions.edit import Edit
    from ..statistics import RankCorrelation

Patching = Literal["denoising", "noising"]
Measure = Literal["effect", "normalised"]
#: Smallest difference of log-probability, in nats, that effects can be divided by.
MIN_GAP = 1e-3


@dataclass(frozen=True, eq=False)
class CausalMap(Displayed):
    """What each patch between a clean and a corrupted run does to the answer's log-probability.

    Attributes
    ----------
    model
        Name of the model.
    patching
        ``"denoising"``: activations of the clean run replace those of the corrupted run: what is enough for
        the answer. ``"noising"``: the other way round: what the answer needs.
    method
        ``"exact"``: every cell was run. ``"gradient"``: its first-order approximation.
    clean, corrupted
        The requests.
    clean_tokens, corrupted_tokens
        The tokens of both, with those of the answer but the last.
    answer, answer_text
        Token ids of the answer, and their text.
    clean_logprob, corrupted_logprob
        Log-probability of the answer in both runs without a patch, nats.
    spans
        ``(start, stop)`` of each column of the parts by token.
    differing
        The tokens at which the prompts differ.
    positions
        The tokens at which heads and experts were patched.
    grids
        The cells, by part.

    Notes
    -----
    Activation patching: Meng et al. 2022 (arXiv:2202.05262), whose heat map of layers × tokens this is;
    Zhang and Nanda 2024 (arXiv:2309.16042) on denoising, noising and measures.

    A cell stands out where its effect is beyond that of every cell of its family in all controls: p values
    are corrected for all cells of a part together (Westfall and Young 1993, the maximum statistic). Tokens at
    which the answer is predicted are a family of their own: a late patch there transfers the whole answer of
    any run, so that it shows little. In denoising, a control
    patches from a run on the clean prompt with other tokens of the same kind where the prompts differ (soft
    tokens of media: in another order); in noising it writes a change in a random direction, as large at every
    token as the cell's own.
    """

    model: str
    patching: Patching
    method: Literal["exact", "gradient"]
    clean: Request
    corrupted: Request
    clean_tokens: TokenTable
    corrupted_tokens: TokenTable
    answer: tuple[int, ...]
    answer_text: str
    clean_logprob: float
    corrupted_logprob: float
    spans: tuple[Span, ...]
    differing: tuple[int, ...]
    positions: tuple[int, ...]
    grids: Mapping[Part, CausalGrid] = field(repr=False)

    @property
    def gap(self) -> float:
        """What the corruption takes from the answer: clean minus corrupted log-probability, nats."""
        return self.clean_logprob - self.corrupted_logprob

    @property
    def base_tokens(self) -> TokenTable:
        """The tokens of the run that is patched."""
        return self.corrupted_tokens if self.patching == "denoising" else self.clean_tokens

    @property
    def draws(self) -> int:
        """Number of controls."""
        return max((len(grid.controls) for grid in self.grids.values()), default=0)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that were patched."""
        return tuple(part for part in PARTS if part in self.grids)

    def grid(self, part: Part) -> CausalGrid:
        """Return the cells of a part.

        Raises
        ------
        LabError
            If it was not patched.
        """
        if part not in self.grids:
            raise LabError(
                f"This map has no part {short_repr(part)}.",
                hint=f"It has {', '.join(map(repr, self.parts))}.",
            )
        return self.grids[part]

    def effects(self, part: Part = "residual", *, measure: Measure = "effect") -> NDArray[np.float64]:
        """Return the effects of a part, ``[layers, columns]``.

        Parameters
        ----------
        part
            What was patched.
        measure
            ``"effect"``: change of the answer's log-probability, nats. ``"normalised"``: where the
            log-probability is between the corrupted run (0) and the clean one (1).

        Raises
        ------
        LabError
            If there is no such part or measure, or the two runs differ by less than 0.001 nats.
        """
        effects = self.grid(part).effects
        if measure == "effect":
            return effects
        if measure != "normalised":
            raise LabError(
                f"There is no measure {short_repr(measure)}.", hint='It is "effect" or "normalised".'
            )
        if abs(self.gap) < MIN_GAP:
            raise LabError(
                f"The answer's log-probability is {self.clean_logprob:.4f} in the clean run and "
                f"{self.corrupted_logprob:.4f} in the corrupted one: there is nothing to divide by.",
                hint="Corrupt something that the answer depends on, or look at effects in nats.",
            )
        found: NDArray[np.float64] = (
            effects + (0.0 if self.patching == "denoising" else self.gap)
        ) / self.gap
        return found

    @property
    def sign(self) -> int:
        """Sign of the effects that move the answer's log-probability to that of the run patched from."""
        towards = self.gap if self.patching == "denoising" else -self.gap
        return 1 if towards >= 0 else -1

    def p_values(self, part: Part = "residual") -> NDArray[np.float64]:
        """Return the p value of every cell, ``[layers, columns]``, corrected for all cells of its family.

        ``(1 + b) ÷ (1 + draws)``; b is the number of controls in which any cell of the family moved the
        answer as far towards the run patched from. NaN without controls.
        """
        return self.grid(part).p_values(self.sign)

    def thresholds(self, part: Part = "residual") -> NDArray[np.float64]:
        """Return the largest effect by chance for each column, nats, ``[columns]``; NaN without controls.

        The largest of any cell of the column's family in any control.
        """
        extremes = self.grid(part).extremes(self.sign)
        if not len(extremes):
            return np.full(self.grid(part).effects.shape[1], np.nan)
        found: NDArray[np.float64] = self.sign * extremes.max(axis=0)
        return found

    def stands_out(self, part: Part = "residual") -> NDArray[np.bool_]:
        """Return which cells have an effect beyond that of every cell of their family in every control."""
        with np.errstate(invalid="ignore"):
            found: NDArray[np.bool_] = self.sign * (self.grid(part).effects - self.thresholds(part)) > 0
        return found

    def agreement(self, other: CausalMap, part: Part | None = None) -> RankCorrelation:
        """Return the rank correlation with another map's effects, e.g. with the gradient approximation.

        Cells without an effect in both maps are left out: their ranks agree trivially. The interval is over
        columns, whose layers resemble each other.

        Parameters
        ----------
        other
            A map of the same prompts and parts.
        part
            Of one part only; by default all parts of both maps.

        Raises
        ------
        LabError
            If the maps have different cells.
        """
        parts = [each for each in self.parts if each in other.parts] if part is None else [part]
        values: list[NDArray[np.float64]] = []
        places: list[NDArray[np.integer]] = []
        for number, each in enumerate(parts):
            one, two = self.grid(each).effects, other.grid(each).effects
            if one.shape != two.shape or self.spans != other.spans:
                raise LabError(
                    f"The maps have {one.shape[0]} × {one.shape[1]} and {two.shape[0]} × {two.shape[1]} "
                    f"cells of the part {each!r}, or other spans.",
                    hint="Make both from the same prompts, spans and positions.",
                )
            kept = np.isfinite(one) & np.isfinite(two) & ((one != 0) | (two != 0))
            values.append(np.stack([one[kept], two[kept]]))
            places.append(np.nonzero(kept)[1] + number * (1 << 20))
        if not values:
            raise LabError(
                f"The maps share no part: {', '.join(self.parts)}; {', '.join(other.parts)}.",
                hint="Make both with the same parts=.",
            )
        first, second = np.concatenate(values, axis=1)
        return rank_correlation(first, second, np.concatenate(places))

    @property
    def base_request(self) -> Request:
        """The request of the run that is patched."""
        return self.corrupted if self.patching == "denoising" else self.clean

    def edit(self, lab: LoadedModel, cell: CausalEffect) -> Edit:
        """Return the patch of a cell as an edit, e.g. to trace the patched run.

        Parameters
        ----------
        lab
            The model of the map.
        cell
            One of `top`, or any other place of the map.

        Raises
        ------
        LabError
            If the map has no such cell, or its prompts no longer give its number of tokens.

        Examples
        --------
        >>> cell = found.top(1)[0]
        >>> lab.trace(found.base_request, edit=found.edit(lab, cell), logit_lens=True)
        """
        from .cell_edit import cell_edit

        if not isinstance(cell, CausalEffect):
            raise LabError(f"{short_repr(cell)} is no cell of a causal map.", hint="Pass one of found.top().")
        if lab.name != self.model:
            raise LabError(
                f"The map is of {self.model}, not of {lab.name}.", hint="Pass the lab that made it."
            )
        self.grid(cell.part).row(cell.layer)
        return cell_edit(
            lab,
            cell,
            requests=(self.clean, self.corrupted),
            answer=self.answer,
            denoising=self.patching == "denoising",
            spans=self.spans,
            positions=self.positions,
            tokens=len(self.clean_tokens),
        )

    def top(self, count: int = 10, *, part: Part | None = None) -> tuple[CausalEffect, ...]:
        """Return the cells with the largest effects towards the run patched from, largest first.

        Effects that are equal to a thousandth of a nat keep the order of the map, which rounding in another
        batch or on another machine does not change.

        Parameters
        ----------
        count
            How many.
        part
            Of one part only.
        """
        count = whole_number("count", count, minimum=1)
        cells = self._cells(self.parts if part is None else (self.grid(part).part,))
        return tuple(sorted(cells, key=lambda cell: round(-self.sign * cell.effect, 3))[:count])

    def label(self, cell: CausalEffect) -> str:
        """Describe the place of a cell: ``"layer 3, head 2"``, ``"layer 3, tokens 5–7 'lemon'"``."""
        if cell.part not in BY_SPAN:
            return f"layer {cell.layer}, {cell.part} {cell.column}"
        start, stop = self.spans[cell.column]
        places = f"token {start}" if stop == start + 1 else f"tokens {start}–{stop - 1}"
        return f"layer {cell.layer}, {cell.part}, {places} {self.span_text(cell.column)!r}"

    def span_text(self, column: int) -> str:
        """Return the tokens of a span as text, in the clean prompt; where the other differs, ``a→b``."""
        start, stop = self.spans[column]
        one, two = (_text(tokens, start, stop) for tokens in (self.clean_tokens, self.corrupted_tokens))
        return one if one == two else f"{one}→{two}"

    def to_pandas(self) -> Any:
        """Return one row per cell: part, layer, column, tokens, effect, normalised, p."""
        import pandas as pd

        usable = abs(self.gap) >= MIN_GAP
        rows = []
        for cell in self._cells(self.parts):
            tokens = self.span_text(cell.column) if cell.part in BY_SPAN else ""
            shift = 0.0 if self.patching == "denoising" else self.gap
            normalised = (cell.effect + shift) / self.gap if usable else float("nan")
            p = float("nan") if cell.p is None else cell.p
            rows.append((cell.part, cell.layer, cell.column, tokens, cell.effect, normalised, p))
        columns = ["part", "layer", "column", "tokens", "effect", "normalised", "p"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        sizes = [f"{part} {'×'.join(map(str, self.grids[part].effects.shape))}" for part in self.parts]
        best = self.top(1)
        found = f", largest {best[0].effect:+.2f} at {self.label(best[0])}" if best else ""
        return (
            f"CausalMap({self.model}, {self.patching} by {self.method}, answer {self.answer_text!r} "
            f"{self.corrupted_logprob:.2f} → {self.clean_logprob:.2f} nats: {', '.join(sizes)}{found})"
        )

    def _cells(self, parts: tuple[Part, ...]) -> Iterator[CausalEffect]:
        for part in parts:
            grid = self.grids[part]
            p = grid.p_values(self.sign)
            for row, column in zip(*np.nonzero(np.isfinite(grid.effects)), strict=True):
                value = float(p[row, column])
                yield CausalEffect(
                    part,
                    grid.layers[row],
                    int(column),
                    float(grid.effects[row, column]),
                    value if np.isfinite(value) else None,
                )


def _text(tokens: TokenTable, start: int, stop: int) -> str:
    """Return the tokens of a span as text, and soft tokens as their kind."""
    kinds = [str(kind) for kind in tokens.modalities[start:stop]]
    if kinds and all(kind in ("image", "video", "audio") for kind in kinds):
        return f"⟨{kinds[0]}⟩"
    texts = tokens.texts[start:stop]
    return "".join(
        str(text) or str(piece) for text, piece in zip(texts, tokens.pieces[start:stop], strict=True)
    )
