"""Figure of a comparison of lenses: agreement with the model and divergence from it, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..base.figure import FAINT, OKABE_ITO, Plot, hide_frame, new_figure
from ..base.text import visible

if TYPE_CHECKING:
    from ...evals.lens_comparison import LensComparison

_STYLES = (
    ("logit", "logit lens", OKABE_ITO["blue"], "o"),
    ("jacobian", "Jacobian lens", OKABE_ITO["vermillion"], "s"),
)


def lens_comparison_figure(data: LensComparison) -> Plot:
    """Draw top-1 agreement and KL divergence of both lenses by layer, with 95 % intervals.

    Parameters
    ----------
    data
        From `gemma_lab.evals.compare_lenses`.
    """
    table = data.to_pandas()
    labels = (
        ("agreement", "First choice is the model's (higher is better)", "% of tokens", 100),
        ("divergence", "Divergence from the model (lower is better)", "KL divergence, nats", 1),
    )
    texts = len(np.unique(data.texts))
    with new_figure(9.2, 3.6, ncols=2) as (figure, axes):
        for one, (measure, title, unit, scale) in zip(axes, labels, strict=True):
            rows = table[table["measure"] == measure]
            layers = rows["layer"].to_numpy()
            for shift, (kind, name, color, marker) in zip((-0.06, 0.06), _STYLES, strict=True):
                mean, low, high = (scale * rows[f"{kind}{end}"].to_numpy() for end in ("", "_low", "_high"))
                spread = [np.clip(mean - low, 0, None), np.clip(high - mean, 0, None)]
                one.errorbar(layers + shift, mean, yerr=spread, color=color, marker=marker, ms=5, lw=1.6,
                             capsize=2, label=name)  # fmt: skip
            one.set(xlabel="read after layer", ylabel=unit, ylim=(0, 103) if scale == 100 else (0, None))
            one.set_title(title, fontsize=10)
            one.xaxis.get_major_locator().set_params(integer=True)
            one.grid(axis="y", color=FAINT, lw=0.8)
            one.set_axisbelow(True)
            hide_frame(one, keep="left bottom")
        figure.suptitle(
            f"Lenses of {visible(data.model)}: {data.agrees.shape[2]:,} tokens of {texts:,} held-out texts, "
            "95 % intervals",
            x=0.01, ha="left", fontsize=11, fontweight="bold", parse_math=False,
        )  # fmt: skip
        axes[0].legend(frameon=False, fontsize=9)
    found = data.better("agreement")
    return Plot(
        figure,
        text=f"{data.model}: by agreement with the model's own token the Jacobian lens is better at layers "
        f"{found['jacobian']}, the logit lens at {found['logit']} (95 % intervals); "
        f"{data.agrees.shape[2]:,} tokens of {texts:,} held-out texts",
    )
