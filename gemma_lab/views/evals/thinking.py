"""Answers with thinking off and on, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ...evals.statistics import wilson_interval
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure

_MODES = (("off", "sky", -0.12), ("on", "blue", 0.12))


def thinking_figure(
    groups: Sequence[str],
    *,
    off: Sequence[bool],
    on: Sequence[bool],
    tokens: tuple[Sequence[int], Sequence[int]],
    model: str,
) -> Plot:
    """Draw accuracy by group, and tokens per answer, with thinking off and on.

    Parameters
    ----------
    groups
        Group of each question, e.g. ``"2 terms"``.
    off, on
        Whether each answer is correct with thinking off and on, in the order of `groups`.
    tokens
        Tokens of each answer with thinking off, and with thinking on (thoughts included).
    model
        Name of the model.
    """
    names = sorted(set(groups))
    with new_figure(7.6, 3.2, ncols=2, gridspec_kw={"width_ratios": [3, 2]}) as (figure, (right, cost)):
        for (name, colour, shift), answers in zip(_MODES, (off, on), strict=True):
            for place, group in enumerate(names):
                graded = [correct for correct, of in zip(answers, groups, strict=True) if of == group]
                low, high = wilson_interval(sum(graded), len(graded))
                at = place + shift
                right.plot([at, at], [100 * low, 100 * high], color=OKABE_ITO[colour], linewidth=2.4)
                right.plot(
                    at, 100 * sum(graded) / len(graded), "o", color=OKABE_ITO[colour], markersize=8,
                    label=f"thinking {name}" if not place else None,
                )  # fmt: skip
        right.set_xticks(range(len(names)), names)
        right.set_xlim(-0.5, len(names) - 0.5)
        right.set_ylim(-2, 103)
        right.set_title("accuracy, % (bars: 95 % interval)")
        right.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=2, fontsize=8.5)
        for place, ((_, colour, _), counts) in enumerate(zip(_MODES, tokens, strict=True)):
            mean = sum(counts) / len(counts)
            cost.barh(place, mean, color=OKABE_ITO[colour], height=0.55)
            cost.annotate(f" {mean:.0f}", (mean, place), va="center", fontsize=9)
        cost.set_yticks((0, 1), ("off", "on"))
        cost.invert_yaxis()
        cost.set_title("tokens per answer, mean")
        for axes, along in ((right, "y"), (cost, "x")):
            axes.grid(axis=along, color=FAINT, linewidth=0.8)
            axes.set_axisbelow(True)
            hide_frame(axes, keep="bottom")
        figure.suptitle(model, x=0.01, ha="left", fontsize=9, color=OKABE_ITO["grey"])
    return Plot(
        figure,
        text=f"{model}: {sum(off)}/{len(off)} correct with thinking off, {sum(on)}/{len(on)} with it on.",
    )
