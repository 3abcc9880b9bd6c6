"""Ablation tests as figures and a table: the effect of a set beside those of matched random sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base.figure import FAINT, INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import table

if TYPE_CHECKING:
    from markupsafe import Markup

    from ...evals.ablation.result import AblationTest, AblationTests

_COLOURS = {"confirmed": "vermillion", "failed its control": "grey", "undecided": "yellow"}


def ablation_test_figure(data: AblationTest) -> Plot:
    """Draw the effect of an ablated set beside those of random sets: the test's measure, and each group.

    Parameters
    ----------
    data
        From `gemma_lab.evals.ablate_experts` or `gemma_lab.evals.ablate_heads`.
    """
    frame = data.to_pandas()
    groups = np.array(data.groups)
    labels = [f"{entry.group} ({entry.examples})" for entry in frame.itertuples()]
    if data.target is not None:
        labels[0] = f"{data.target} minus the others"
    with new_figure(7.5, 1.8 + 0.45 * len(frame)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, entry in enumerate(frame.itertuples()):
            lost = data.intact - data.controls
            controls = data.control_effects if row == 0 else lost[:, groups == entry.group].mean(axis=1)
            _draw_row(axes, row, controls, entry.effect, "vermillion", f"p = {entry.p:.2g}")
        axes.set_yticks(range(len(frame)), labels)
        axes.set(ylim=(len(frame) - 0.4, -0.6), xlabel="log-probability lost per answer token, nats",
                 title=f"Without {data.count} {data.kind}: {data.claim}")  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        _add_legend(figure, {f"{data.count} {data.kind}": "vermillion"})
    low, high = np.quantile(data.control_effects, [0.025, 0.975])
    return Plot(
        figure,
        text=f"{data.model} without {data.claim} ({data.count} {data.kind}): {data.measure} "
        f"{data.effect:.3f} over {len(data.intact)} answers; {data.draws} {data.match}-matched "
        f"random sets {low:.3f} to "
        f"{high:.3f} (95 %), p = {data.p:.2g}: {data.verdict}",
    )


def ablation_tests_figure(data: AblationTests) -> Plot:
    """Draw every test as a row: its effect in standard deviations of its random sets, and the verdict.

    Parameters
    ----------
    data
        The tests.
    """
    with new_figure(8.0, 1.9 + 0.5 * len(data)) as (figure, axes):
        axes.axvline(0, color=FAINT, lw=1)
        for row, (one, verdict) in enumerate(zip(data, data.verdicts, strict=True)):
            controls = one.control_effects - one.control_effects.mean()
            spread = float(controls.std(ddof=1)) if one.draws > 1 else 0.0
            unit = spread if spread > 0 else 1.0
            _draw_row(
                axes, row, controls / unit, one.excess / unit, _COLOURS[verdict],
                f"{verdict}\n{one.effect:+.2f} nats, p = {one.p:.2g}",
            )  # fmt: skip
        axes.set_yticks(range(len(data)), [f"{one.claim} ({one.count})" for one in data])
        axes.set(
            ylim=(len(data) - 0.4, -0.6), title=f"{data.tests[0].model}: ablation tests",
            xlabel="damage beyond matched random sets, in standard deviations of theirs",
        )  # fmt: skip
        axes.tick_params(axis="y", length=0)
        hide_frame(axes, keep="bottom")
        _add_legend(figure, {verdict: _COLOURS[verdict] for verdict in dict.fromkeys(data.verdicts)})
    listed = "; ".join(
        f"{one.claim}: {verdict}, p = {one.p:.2g}" for one, verdict in zip(data, data.verdicts, strict=True)
    )
    return Plot(figure, text=f"{len(data)} ablation tests of {data.tests[0].model}: {listed}")


def ablation_tests_html(data: AblationTests) -> Markup:
    """Return the tests as a table, a row each."""
    rows = []
    for one, adjusted, verdict in zip(data, data.p_adjusted, data.verdicts, strict=True):
        low, high = one.excess_interval
        intact, ablated, others = one.accuracy
        rows.append((
            one.claim, f"{one.count} {one.kind}", f"{one.effect:+.3f}",
            f"{one.control_effects.mean():+.3f} ± {one.control_effects.std():.3f}",
            f"{one.excess:+.3f} ({low:+.3f} to {high:+.3f})",
            f"{intact:.0%} → {ablated:.0%} ({others:.0%})", f"{one.p:.3g}", f"{adjusted:.3g}", verdict,
        ))  # fmt: skip
    columns = (
        "claim", "ablated", "effect, nats", "random sets", "beyond them (95 %)", "right answers (random)",
        "p", "p corrected", "verdict",
    )  # fmt: skip
    return table(
        rows, columns=columns, caption=f"Ablation tests of {data.tests[0].model}", align="llrrrrrrl",
        notes=[
            "Effect: log-probability lost per answer token; of a claim about one group, its loss minus that "
            "of the others. Random sets are as many experts of the same layers, nearest in load, or as many "
            "other heads. Confirmed: p ≤ 0.01, and ≤ 0.05 corrected for the number of tests (Holm)."
        ],
    )  # fmt: skip


def _draw_row(axes: Any, row: int, controls: Any, effect: float, colour: str, note: str) -> None:
    shift = 0.3 * (np.arange(len(controls)) * 0.618 % 1 - 0.5)  # spread out, the same every time
    axes.plot(controls, row + shift, ls="", marker=".", ms=4, color=OKABE_ITO["sky"], alpha=0.6)
    axes.plot(effect, row, ls="", marker="D", ms=8, color=OKABE_ITO[colour], mec=INK)
    axes.annotate(note, (1.01, row), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)


def _add_legend(figure: Any, marks: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], ls="", marker=".", ms=7, color=OKABE_ITO["sky"], label="matched random sets")]
    handles += [
        Line2D([], [], ls="", marker="D", ms=7, color=OKABE_ITO[colour], mec=INK, label=label)
        for label, colour in marks.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
