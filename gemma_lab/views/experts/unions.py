"""Figures of the experts that a pass loads, and of the speed-up by drafting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..base.figure import FAINT, OKABE_ITO, Plot, new_figure

if TYPE_CHECKING:
    from ...analysis.experts.unions import DraftSpeedup, ExpertUnions

_LINES = ("blue", "vermillion", "green", "purple", "orange", "sky", "grey")
_MARKS = "osD^vPX"


def expert_unions_figure(data: ExpertUnions | Mapping[str, ExpertUnions]) -> Plot:
    """Draw the experts of a layer that the tokens of a pass load together.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.expert_unions`, or one per kind of text by its name.
    """
    several = dict(data) if isinstance(data, Mapping) else {"mean over layers": data}
    first = next(iter(several.values()))
    with new_figure(7.0, 3.6) as (figure, axes):
        axes.plot(first.sizes, first.independent, "--", color=OKABE_ITO["black"], lw=1.2, label="independent")
        for (name, each), colour, mark in zip(several.items(), _LINES, _MARKS, strict=False):
            axes.plot(each.sizes, each.overall, f"-{mark}", color=OKABE_ITO[colour], ms=5, label=name)
        if len(several) == 1:
            low, high = first.mean.min(axis=0), first.mean.max(axis=0)
            axes.fill_between(
                first.sizes, low, high, color=OKABE_ITO["blue"], alpha=0.15, lw=0, label="layers"
            )
        axes.set(
            xlabel="tokens verified in one pass",
            ylabel="experts loaded per layer",
            title="Experts loaded together",
            xticks=first.sizes,
        )
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, lw=0.6)
        figure.legend(loc="outside lower left", ncols=4)
    parts = "; ".join(f"{name} {each.overall[-1]:.1f}" for name, each in several.items())
    return Plot(
        figure,
        text=f"Experts of a layer that {int(first.sizes[-1])} tokens load together: {parts}; "
        f"{first.independent[-1]:.1f} if independent; one token loads {first.top_k} of {first.experts}",
    )


def draft_speedup_figure(
    data: DraftSpeedup | Mapping[str, DraftSpeedup],
    *,
    measured: Mapping[str, Mapping[int, float]] | None = None,
) -> Plot:
    """Draw the expected speed-up by the number of drafted tokens, beside measured ones.

    Parameters
    ----------
    data
        From `ExpertUnions.speedup`, or one per kind of text by its name.
    measured
        Name as in `data` → drafted tokens → measured speed-up.
    """
    several = dict(data) if isinstance(data, Mapping) else {"expected": data}
    points = dict(measured or {})
    with new_figure(7.0, 3.6) as (figure, axes):
        axes.axhline(1, color=OKABE_ITO["grey"], lw=0.8)
        for (name, each), colour, mark in zip(several.items(), _LINES, _MARKS, strict=False):
            axes.plot(each.drafts, each.speedup, "-", color=OKABE_ITO[colour], label=f"{name}, expected")
            if name in points:
                axes.plot(
                    list(points[name]), list(points[name].values()), ls="", marker=mark, ms=7, mfc="none",
                    mew=1.6, color=OKABE_ITO[colour], label=f"{name}, measured",
                )  # fmt: skip
        drafts = next(iter(several.values())).drafts
        axes.set(
            xlabel="tokens drafted per pass",
            ylabel="tokens/s ÷ plain decoding",
            title="Speed-up by drafting",
            xticks=drafts,
        )
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, lw=0.6)
        figure.legend(loc="outside lower left", ncols=2)
    parts = [
        f"{name} best with {each.best} drafts ({each.speedup.max():.2f} ×)" for name, each in several.items()
    ]
    parts += [
        f"{name} measured {', '.join(f'{value:.2f} × with {count}' for count, value in values.items())}"
        for name, values in points.items()
    ]
    return Plot(figure, text=f"Speed-up by drafting: {'; '.join(parts)}")
