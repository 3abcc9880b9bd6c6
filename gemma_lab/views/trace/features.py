"""Features of a sparse autoencoder at the tokens of a trace: the fit first, then the strongest features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import LabError
from ..base.colors import amount_colors
from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import TEXT, Markup, bdi, footnotes, group, tag
from ..base.text import visible
from ..base.variance_explained import DEFINITION, fit_heading, weights_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...trace.records.features import Features
    from ...trace.trace import Trace

#: Features that are shown, and tokens of a text; of a longer one those around the largest activation.
_SHOWN, _TOKENS = 8, 120


def features_html(trace: Trace | Features, *, features: Sequence[int] | None = None) -> Markup:
    """Return the fit of an SAE on a trace, and the text tinted by its strongest features, one line each.

    Parameters
    ----------
    trace
        With features; or its ``features``, whose tokens are then named by their rows.
    features
        Features to show. Default: those with the largest activations.

    Raises
    ------
    LabError
        If the trace has no features, or one does not exist.
    """
    record = _features(trace)
    parts = [
        fit_heading(
            record.variance_explained,
            record.min_variance_explained,
            tokens=int(record.counted.sum()),
            interval=None,
        ),
        tag(
            "div",
            bdi(visible(record.sae)),
            f": layer {record.layer}, {record.features:,} features, L0 {record.mean_active:.1f}",
        ),
    ]
    if record.fits:
        chosen = [one for one, *_ in record.strongest(_SHOWN)] if features is None else list(features)
        parts += [_line(trace, record, feature) for feature in chosen]
    elif features is not None:
        record.require_fit()
    notes = [DEFINITION, weights_note(record.same_weights)]
    if record.fits:
        notes.insert(0, "Darker: larger activation, relative to the feature's largest in this text.")
    return group(repr(record), *parts, footnotes(notes))


def features_figure(record: Features, *, features: Sequence[int] | None = None) -> Plot:
    """Draw the activations of features along the tokens of a text.

    Parameters
    ----------
    record
        The features of a trace.
    features
        Features to draw, five at most. Default: those with the largest activations.

    Raises
    ------
    LabError
        If the fit is below the record's limit, or a feature does not exist.
    """
    chosen = [one for one, *_ in record.strongest(5)] if features is None else list(features)[:5]
    colors = list(OKABE_ITO.values())
    tops = []
    with new_figure(7.5, 2.8) as (figure, axes):
        for number, feature in enumerate(chosen):
            values = record.of(feature)
            axes.plot(
                values, marker="osD^v"[number], ms=3, lw=1, color=colors[number], label=f"feature {feature}"
            )
            tops.append(f"feature {feature} {values.max():.2f} at token {int(values.argmax())}")
        axes.set(
            xlabel="token", ylabel="activation",
            title=f"Layer {record.layer}: variance explained {record.variance_explained:.3f}",
        )  # fmt: skip
        hide_frame(axes, keep="left bottom")
        if chosen:
            figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return Plot(
        figure,
        text=f"Variance explained {record.variance_explained:.3f}; largest activations: {'; '.join(tops)}",
    )


def _features(trace: Trace | Features) -> Features:
    record = getattr(trace, "features", None) if hasattr(trace, "tokens") else trace
    if record is None or not hasattr(record, "squared_errors"):
        raise LabError("The trace has no features of an SAE.", hint="lab.trace(prompt, sae=gl.load_sae(…))")
    found: Features = record
    return found


def _line(trace: Trace | Features, record: Features, feature: int) -> Markup:
    """Return one feature: its number and largest activation, and the text tinted by it."""
    values = record.of(feature)
    top = float(values.max()) or 1.0
    peak = int(values.argmax())
    first = max(0, min(peak - _TOKENS // 2, len(values) - _TOKENS))
    last = min(len(values), first + _TOKENS)
    words = [_token(trace, row, float(values[row]), top) for row in range(first, last)]
    left = "… " if first else ""
    right = " …" if last < len(values) else ""
    return tag(
        "div",
        tag("b", f"feature {feature}"),
        f" · largest {values.max():.2f} · in {int((values > 0).sum()):,} tokens",
        tag("div", left, *words, right, style=TEXT),
        style="margin:.5em 0",
    )


def _token(trace: Trace | Features, row: int, value: float, top: float) -> Markup:
    tokens = getattr(trace, "tokens", None)
    name = f"{row} " if tokens is None else str(tokens.texts[row]) or str(tokens.pieces[row])
    name = name.replace("\n", "↵")  # a feature is one line
    if value <= 0:
        return bdi(visible(name))
    red, green, blue = amount_colors(np.asarray([value / top]))[0].tolist()
    ink = "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"
    return tag(
        "bdi", visible(name), dir="auto", title=f"token {row}: {value:.3f}",
        style=f"background:rgb({red},{green},{blue});color:{ink};border-radius:2px",
    )  # fmt: skip
