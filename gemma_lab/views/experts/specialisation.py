"""Expert specialisation as figures; what is within chance stays blank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import LabError
from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from .load import layer_ticks

if TYPE_CHECKING:
    from ...analysis.experts.specialisation import Specialisation

_MAX_DOUBLINGS = 3.0  # the colour scale ends at 2³ times the overall rate


def specialisation_figure(data: Specialisation, label: str | None = None) -> Plot:
    """Draw how much more or less often tokens of one label choose each expert; chance is left blank.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.specialisation`.
    label
        One of its labels. Default: the one with the most findings.

    Raises
    ------
    LabError
        If there is no such label.
    """
    if label is None:
        label = data.labels[int(data.found.sum(axis=(1, 2)).argmax())]
    if label not in data.labels:
        raise LabError(f"There is no label {label!r}.", hint=f"There are {', '.join(data.labels)}.")
    index = data.labels.index(label)
    found, lift = data.found[index], data.lift[index]
    doublings = np.log2(np.clip(lift, 2.0**-_MAX_DOUBLINGS, 2.0**_MAX_DOUBLINGS))
    with new_figure(10.5, 1.9 + 0.19 * len(data.layers)) as (figure, axes):
        axes.set_facecolor("#F2F2F2")
        image = axes.imshow(
            np.ma.masked_where(~found, doublings),
            cmap="PuOr_r",
            vmin=-_MAX_DOUBLINGS,
            vmax=_MAX_DOUBLINGS,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set(
            xlabel="expert",
            ylabel="layer",
            title=f"Experts chosen more or less often for “{label}”, beyond chance",
        )
        layer_ticks(axes, data.layers)
        hide_frame(axes)
        bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=[-3, -2, -1, 0, 1, 2, 3])
        bar.ax.set_yticklabels(["⅛", "¼", "½", "1", "2", "4", "8"])
        bar.set_label("rate ÷ rate over all tokens")
        bar.outline.set_visible(False)
    prefers, avoids = int((found & (lift > 1)).sum()), int((found & (lift < 1)).sum())
    return Plot(
        figure,
        text=f"{label}: of {found.size:,} experts {prefers:,} are chosen more often and {avoids:,} less "
        f"often than by chance (family-wise {data.alpha:.0%}); the others are blank",
    )


def label_information_figure(data: Specialisation) -> Plot:
    """Draw the mutual information of label and chosen expert by layer, with its limit under chance.

    Parameters
    ----------
    data
        From `gemma_lab.analysis.specialisation`.
    """
    rows = np.arange(len(data.layers))
    with new_figure(8.0, 3.6) as (figure, axes):
        axes.fill_between(rows, 0, data.information_limit, color=FAINT, lw=0, label="within chance")
        axes.plot(
            rows, data.information, color=OKABE_ITO["vermillion"], marker="o", ms=4, lw=1.8, label="observed"
        )
        axes.set(
            xlabel="layer",
            ylabel="bits per choice",
            title="Mutual information of expert and label",
            ylim=(0, None),
        )
        layer_ticks(axes, data.layers, axis="x")
        figure.legend(loc="outside lower left", ncols=2)
    beyond = int((data.information > data.information_limit).sum())
    return Plot(
        figure,
        text=f"Mutual information of label and expert: {data.information.min():.3f} to "
        f"{data.information.max():.3f} bits per choice; beyond chance in {beyond} of {len(rows)} layers",
    )
