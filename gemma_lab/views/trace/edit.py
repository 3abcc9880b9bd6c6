"""An edit as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...trace.interventions.attention_knockout import format_span
from ..base.html import Markup, bdi, join, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...trace.interventions.edit import Edit

_MAX_EXPERTS = 40  # per cell


def edit_html(edit: Edit) -> Markup:
    """Return an edit as tables: experts and heads by layer, attention knockouts, patches, steering.

    Parameters
    ----------
    edit
        The edit; "every" layer means every one that has experts or heads.
    """
    by_layer = ("ablate_experts", "boost_experts", "force_experts", "ablate_heads")
    layers = [layer for layer in edit.layers if any(layer in getattr(edit, kind) for kind in by_layer)]
    rows = [
        (
            "every" if layer == "all" else layer,
            _numbers(edit.ablate_experts.get(layer, ())),
            _listed(
                f"{expert} ({nats:+g})".replace("-", "−")
                for expert, nats in edit.boost_experts.get(layer, {}).items()
            ),
            _numbers(edit.force_experts.get(layer, ())),
            _numbers(edit.ablate_heads.get(layer, ())),
        )
        for layer in layers
    ]
    parts = []
    if rows or not edit.layers:
        parts.append(
            table(
                rows or [("none", "", "", "", "")],
                columns=(
                    "layer",
                    "ablated experts",
                    "boosted experts (nats)",
                    "forced experts",
                    "ablated heads",
                ),
                caption="Edit of experts and heads",
                align="rllll",
            )
        )
    parts += [_knockouts(edit)] if edit.knock_out_attention else []
    parts += [_patches(edit)] if edit.patch else []
    parts += [_steerings(edit)] if edit.steer else []
    return join(parts)


def _knockouts(edit: Edit) -> Markup:
    rows = [
        (
            format_span(knockout.queries),
            format_span(knockout.keys),
            "every" if knockout.layers is None else _numbers(knockout.layers),
            "every" if knockout.heads is None else _numbers(knockout.heads),
        )
        for knockout in edit.knock_out_attention
    ]
    columns = ("queries", "cannot attend to", "in layers", "heads")
    return table(rows, columns=columns, caption="Attention knockouts", align="rrll")


def _patches(edit: Edit) -> Markup:
    rows = [
        (
            _numbers(patch.positions),
            _numbers(patch.layers),
            "residual stream" if patch.source.site == "residual" else patch.source.site,
            bdi(patch.source.model),
            _numbers(patch.source.positions),
        )
        for patch in edit.patch
    ]
    columns = ("tokens", "of layers", "what", "activations of", "its tokens")
    return table(rows, columns=columns, caption="Activation patches", align="rllll")


def _steerings(edit: Edit) -> Markup:
    rows = [
        (
            f"{steering.strength:+g}".replace("-", "−"),
            bdi(steering.direction.name),
            steering.direction.method,
            _numbers(steering.layers),
            "every" if steering.tokens is None else format_span(steering.tokens),
        )
        for steering in edit.steer
    ]
    columns = ("strength", "direction", "computed as", "after layers", "tokens")
    return table(rows, columns=columns, caption="Steering", align="rllll")


def _numbers(numbers: Iterable[int]) -> str:
    return _listed(map(str, numbers))


def _listed(parts: Iterable[str]) -> str:
    shown = list(parts)
    left = len(shown) - _MAX_EXPERTS
    return ", ".join(shown[:_MAX_EXPERTS]) + (f" and {left} more" if left > 0 else "")
