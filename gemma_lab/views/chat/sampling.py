"""The effect of temperature, top-k and top-p on a distribution: a table and a figure."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ...models.chat.sampling import Sampling
from ..base.figure import INK, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, bdi, table
from ..base.text import percent, visible_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from ...models.chat.next_token import Distribution


def sampling_html(
    distribution: Distribution, samplings: Mapping[str, Sampling] | None = None, *, count: int = 10
) -> Markup:
    """Return the most likely tokens and their probabilities, of the model and under each sampling.

    Parameters
    ----------
    distribution
        From `Lab.next_token`.
    samplings
        Name to sampling, one column each.
    count
        Number of tokens.
    """
    columns, rows = _cells(distribution, samplings or {}, count)
    return table(
        [(bdi(label), *(_share(value) for value in values)) for _, label, values in rows],
        columns=("next token", *columns),
        align="l" + "r" * len(columns),
        caption=f"Next token of {distribution.model}",
        notes=[f"Entropy {distribution.entropy:.2f} nats. – : probability 0."],
    )


def sampling_text(
    distribution: Distribution, samplings: Mapping[str, Sampling] | None = None, *, count: int = 10
) -> str:
    """Return the table of `sampling_html` as text.

    Parameters
    ----------
    distribution
        From `Lab.next_token`.
    samplings
        Name to sampling, one column each.
    count
        Number of tokens.
    """
    columns, rows = _cells(distribution, samplings or {}, count)
    lines = [("next token", *columns)] + [(label, *map(_share, values)) for _, label, values in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) + 1)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def sampling_figure(
    distribution: Distribution, samplings: Mapping[str, Sampling] | None = None, *, count: int = 10
) -> Plot:
    """Draw the most likely tokens as bars, one panel per sampling, with the model's own probabilities.

    A filled bar is the probability under the sampling, the outline the model's own; a cross marks a token
    that the sampling excludes. Tokens in a script that matplotlib's font lacks are labelled by id
    (``#1234``); `sampling_html` shows them.

    Parameters
    ----------
    distribution
        From `Lab.next_token`.
    samplings
        Name to sampling. Default: the recommended one.
    count
        Number of tokens.
    """
    samplings = samplings or {"recommended": Sampling()}
    columns, rows = _cells(distribution, samplings, count)
    labels = [label if _drawable(label) else f"#{index}" for index, label, _ in rows]
    model = [values[0] for *_, values in rows]
    size = (2.0 * len(samplings) + 0.8, 0.3 * len(rows) + 1.1)
    with new_figure(*size, ncols=len(samplings), sharey=True, squeeze=False) as (figure, panels):
        for number, (panel, name) in enumerate(zip(panels[0], columns[1:], strict=True), start=1):
            _panel(panel, model, [values[number] for *_, values in rows])
            panel.set_title(name)
            panel.set_yticks(range(len(labels)), labels)
            panel.set_xlim(0, min(1.0, 1.1 * max(max(values) for *_, values in rows)))
        panels[0][0].set_ylim(len(labels) - 0.5, -0.5)
    return Plot(
        figure,
        text=f"Next-token probabilities of {distribution.model}: the likeliest {len(rows)} tokens, "
        f"{len(samplings)} samplings; numbers in gl.plots.sampling_text",
    )


def _panel(panel: Axes, model: list[float], sampled: list[float]) -> None:
    rows = range(len(model))
    panel.barh(rows, sampled, color=OKABE_ITO["sky"], height=0.7)
    panel.barh(rows, model, facecolor="none", edgecolor=INK, height=0.7)
    excluded = [row for row in rows if sampled[row] == 0]
    if excluded:
        panel.plot([0.0] * len(excluded), excluded, "x", color=OKABE_ITO["vermillion"], clip_on=False)
    panel.locator_params(axis="x", nbins=3)
    panel.set_xlabel("probability")
    panel.tick_params(length=0)
    hide_frame(panel, keep="leftbottom")


def _cells(
    distribution: Distribution, samplings: Mapping[str, Sampling], count: int
) -> tuple[list[str], list[tuple[int, str, list[float]]]]:
    """Return column names, and per token its id, label and probabilities (the model's own first)."""
    probabilities = [distribution.probabilities()] + [
        distribution.probabilities(sampling) for sampling in samplings.values()
    ]
    rows = [
        (other.id, visible_token(other.text), [float(column[other.id]) for column in probabilities])
        for other in distribution.top(count)
    ]
    return ["model", *samplings], rows


def _share(probability: float) -> str:
    return percent(probability) if probability > 0 else "–"


@cache
def _characters() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def _drawable(label: str) -> bool:
    # matplotlib has no bidirectional layout either: letters of right-to-left scripts are left to the table
    return all(ord(c) in _characters() and not 0x590 <= ord(c) < 0x900 for c in label)
