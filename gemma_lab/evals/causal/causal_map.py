"""Causal maps as results: the effect of each patch on the answer, beside what patches by chance do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...checks import short_repr, whole_number
from ...display import Displayed
from ...errors import LabError
from ..statistics import rank_correlation
from .cells import BY_SPAN, Part, Span
from .grid import CausalEffect
from .map_records import MapRecords

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ...models.chat.request import Request
    from ...models.loading.loaded_model import LoadedModel
    from ...models.tokens.table import TokenTable
    from ...trace.interventions.edit import Edit
    from ..statistics import RankCorrelation

Measure = Literal["effect", "normalised"]
#: Smallest difference of log-probability, in nats, that effects can be divided by.
MIN_GAP = 1e-3


@dataclass(frozen=True, eq=False)
class CausalMap(MapRecords, Displayed):
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
    prompts
        The clean and the corrupted request as JSON values (`Request.to_meta`), media by digest. The
        properties `clean` and `corrupted` are the requests themselves.
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
    weights, adapter
        Digests of the model's weights (`gemma_lab.models.loading.weights_digest`), and name and digest of the
        adapter that was active, or None.
    active_edit
        The edit that was active: of experts and heads, for both runs and all patches; empty if none was.
    media
        Pictures, videos and sounds of both requests, opened. A file has the pictures at most.

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
        if isinstance(measure, str) and measure == "effect":
            return effects
        if not isinstance(measure, str) or measure != "normalised":
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
            A map of the same prompts, answer, patching and parts; the model may be another one.
        part
            Of one part only; by default all parts of both maps.

        Raises
        ------
        LabError
            If the maps are of other prompts, of another answer or patching, or have different cells.
        """
        if not isinstance(other, CausalMap):
            raise LabError(f"{short_repr(other)} is no causal map.", hint="found.agreement(approximation)")
        self._require_same_question(other)
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

    def _require_same_question(self, other: CausalMap) -> None:
        """Raise `LabError` unless another map is of the same tokens, answer and patching."""
        hint = "Make both from the same prompts, answer= and patching=."
        for what in ("clean", "corrupted"):
            one, two = (getattr(each, f"{what}_tokens").ids for each in (self, other))
            if len(one) != len(two) or (one != two).any():
                raise LabError(
                    f"The maps are of other {what} prompts or answers: {len(one):,} and {len(two):,} tokens"
                    + (f", {int((one != two).sum()):,} of them other ones." if len(one) == len(two) else "."),
                    hint=hint,
                )
        for name, kind in (("answer", "log-probability of"), ("patching", "effect of")):
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                raise LabError(f"The maps are of the {kind} {one!r} and of {two!r}.", hint=hint)

    def edit(self, lab: LoadedModel, cell: CausalEffect) -> Edit:
        """Return the patch of a cell as an edit, e.g. to trace the patched run.

        It includes the edit that was active when the map was made.

        Parameters
        ----------
        lab
            The model of the map.
        cell
            One of `top`, or any other place of the map.

        Raises
        ------
        LabError
            If the map has no such cell, the lab has other weights, another adapter or another active edit, or
            its prompts no longer give its number of tokens.

        Examples
        --------
        >>> cell = found.top(1)[0]
        >>> lab.trace(found.base_request, edit=found.edit(lab, cell), logit_lens=True)
        """
        from .cell_edit import cell_edit

        if not isinstance(cell, CausalEffect):
            raise LabError(f"{short_repr(cell)} is no cell of a causal map.", hint="Pass one of found.top().")
        self.check_model(lab)
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
            active=self.active_edit,
        )

    def check_model(self, lab: LoadedModel) -> None:
        """Raise `LabError` unless a lab has the weights and the adapter of the map."""
        from .cell_edit import check_model

        check_model(lab, name=self.model, weights=self.weights, adapter=self.adapter)

    def save(self, path: str | Path, *, images: bool = False) -> Path:
        """Write the map as one file and return its path; `gemma_lab.open_causal_map` reads it.

        Parameters
        ----------
        path
            Where to write; an existing file is replaced once the new one is complete.
        images
            Whether to store the prompts' pictures as well, so that cells of an opened map can be traced.

        Raises
        ------
        LabError
            If the file cannot be written.
        """
        from .map_file import write_map

        return write_map(self, path, images=images)

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
        if not isinstance(cell, CausalEffect):
            raise LabError(f"{short_repr(cell)} is no cell of a causal map.", hint="Pass one of found.top().")
        if cell.part not in BY_SPAN:
            return f"layer {cell.layer}, {cell.part} {cell.column}"
        start, stop = self._span(cell.column)
        places = f"token {start}" if stop == start + 1 else f"tokens {start}–{stop - 1}"
        return f"layer {cell.layer}, {cell.part}, {places} {self.span_text(cell.column)!r}"

    def span_text(self, column: int) -> str:
        """Return the tokens of a span as text, in the clean prompt; where the other differs, ``a→b``."""
        start, stop = self._span(column)
        one, two = (_text(tokens, start, stop) for tokens in (self.clean_tokens, self.corrupted_tokens))
        return one if one == two else f"{one}→{two}"

    def _span(self, column: int) -> Span:
        return self.spans[whole_number("column", column, minimum=0, maximum=len(self.spans) - 1)]

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
        under = f" under {self.active_edit!r}" if self.active_edit else ""
        return (
            f"CausalMap({' '.join(self.model.split())}, {self.patching} by {self.method}{under}, "
            f"answer {self.answer_text!r} {self.corrupted_logprob:.2f} → {self.clean_logprob:.2f} nats: "
            f"{', '.join(sizes)}{found})"
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


def open_causal_map(path: str | Path, *, requests: Sequence[Request] | None = None) -> CausalMap:
    """Read a saved causal map, without the model.

    Everything is verified: the checksum of every member of the file, every shape, every number.

    Parameters
    ----------
    path
        A file that `gemma_lab.evals.CausalMap.save` wrote.
    requests
        The clean and the corrupted request that the map was made with, for a file that does not have their
        media. They are compared with what the file states. Without their media a map is shown, but its
        cells cannot be traced.

    Returns
    -------
    CausalMap

    Raises
    ------
    BadTrace
        If there is no such file, or it is truncated, altered, of another version, or no causal map at all.
    LabError
        If `requests` are others than the map was made with.

    Examples
    --------
    >>> lab.causal_map(clean, corrupted).save("recall.map")
    >>> gl.open_causal_map("recall.map").figure()
    """
    from .map_file import read_map

    records = read_map(path, requests=requests)
    return CausalMap(**{each.name: getattr(records, each.name) for each in fields(records)})


def _text(tokens: TokenTable, start: int, stop: int) -> str:
    """Return the tokens of a span as text, and soft tokens as their kind."""
    kinds = [str(kind) for kind in tokens.modalities[start:stop]]
    if kinds and all(kind in ("image", "video", "audio") for kind in kinds):
        return f"⟨{kinds[0]}⟩"
    texts = tokens.texts[start:stop]
    return "".join(
        str(text) or str(piece) for text, piece in zip(texts, tokens.pieces[start:stop], strict=True)
    )
