"""Token counts of the same sentences in different languages, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import LabError
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure

_MARKS = (("o", OKABE_ITO["blue"]), ("D", OKABE_ITO["orange"]), ("s", OKABE_ITO["green"]))


def language_cost_figure(costs: Mapping[str, Mapping[str, Sequence[int]]], *, reference: str) -> Plot:
    """Draw the tokens of the same sentences in each language, as a multiple of one language's.

    Parameters
    ----------
    costs
        Tokenizer → language → tokens of each sentence, in one order for all languages.
    reference
        The language whose cost is 1.

    Returns
    -------
    Plot
        One row per language, sorted by the first tokenizer; the marker is the ratio of the sums, the line
        runs from the lowest to the highest ratio of a sentence.

    Raises
    ------
    LabError
        If there are more tokenizers than markers, or the reference is not among the languages.
    """
    if not costs or len(costs) > len(_MARKS) or any(reference not in part for part in costs.values()):
        raise LabError(
            f"{len(costs)} tokenizers with the reference {reference!r} cannot be drawn.",
            hint=f"Pass 1 to {len(_MARKS)}, each with that language.",
        )
    first = next(iter(costs.values()))
    order = sorted(first, key=lambda language: _ratios(first, language, reference)[0])
    with new_figure(7.2, 0.9 + 0.24 * len(order)) as (figure, axes):
        for (name, part), (mark, colour), shift in zip(
            costs.items(), _MARKS, (0.0, 0.22, -0.22), strict=False
        ):
            for place, language in enumerate(order):
                total, low, high = _ratios(part, language, reference)
                axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=1.6, alpha=0.55)
                axes.plot(
                    total, place + shift, mark, color=colour, markersize=6, label=name if not place else None
                )
        axes.axvline(1, color=OKABE_ITO["grey"], linewidth=0.9)
        axes.set_yticks(range(len(order)), order)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(f"tokens for the same sentences, {reference} = 1 (line: lowest to highest sentence)")
        only = next(iter(costs)) if len(costs) == 1 else ""
        axes.set_title(f"Tokens per language{f', {only}' if only else ''}")
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        if not only:
            axes.legend(loc="upper right")
    ranges = "; ".join(f"{name}: {_range(part, reference)}" for name, part in costs.items())
    return Plot(figure, text=f"Tokens for the same sentences, {reference} = 1. {ranges}.")


def _ratios(part: Mapping[str, Sequence[int]], language: str, reference: str) -> tuple[float, float, float]:
    """Return the ratio of the sums, and the smallest and largest ratio of a sentence."""
    own: Any = np.asarray(part[language], dtype=float)
    base: Any = np.asarray(part[reference], dtype=float)
    ratios = own / base
    return float(own.sum() / base.sum()), float(ratios.min()), float(ratios.max())


def _range(part: Mapping[str, Sequence[int]], reference: str) -> str:
    ratios = {language: _ratios(part, language, reference)[0] for language in part}
    lowest, highest = min(ratios, key=lambda k: ratios[k]), max(ratios, key=lambda k: ratios[k])
    return f"from {ratios[lowest]:.2f} ({lowest}) to {ratios[highest]:.2f} ({highest})"
