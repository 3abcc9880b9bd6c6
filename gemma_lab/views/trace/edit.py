"""An edit as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...interventions.attention_knockout import said
from ..base.html import Markup, bdi, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...interventions.edit import Edit

_MOST = 40  # experts of one cell


def edit_html(edit: Edit) -> Markup:
    """Return an edit as HTML: what it does layer by layer, and which tokens it cuts off or patches.

    Parameters
    ----------
    edit
        The edit; "every" layer means every one that has experts or heads.

    Returns
    -------
    Markup
    """
    by_layer = ("ablate_experts", "boost_experts", "force_experts", "ablate_heads")
    named = [layer for layer in edit.layers if any(layer in getattr(edit, kind) for kind in by_layer)]
    rows = [
        (
            "every" if layer == "all" else layer,
            _listed(map(str, edit.ablate_experts.get(layer, ()))),
            _listed(
                f"{expert} ({nats:+g})".replace("-", "−")
                for expert, nats in edit.boost_experts.get(layer, {}).items()
            ),
            _listed(map(str, edit.force_experts.get(layer, ()))),
            _listed(map(str, edit.ablate_heads.get(layer, ()))),
        )
        for layer in named
    ]
    parts = []
    if rows or not edit.layers:
        parts.append(
            table(
                rows or [("none", "", "", "", "")],
                columns=("layer", "never chosen", "boosted (nats)", "always chosen", "heads knocked out"),
                caption="Edit of experts and heads",
                align="rllll",
            )
        )
    parts += [_cuts(edit)] if edit.knock_out_attention else []
    parts += [_patches(edit)] if edit.patch else []
    return Markup("".join(parts))


def _cuts(edit: Edit) -> Markup:
    return table(
        [
            (
                said(cut.queries), said(cut.keys), "every" if cut.layers is None else _numbers(cut.layers),
                "every" if cut.heads is None else _numbers(cut.heads),
            )
            for cut in edit.knock_out_attention
        ],
        columns=("tokens", "do not look at", "in layers", "heads"),
        caption="Attention that is cut",
        align="rrll",
    )  # fmt: skip


def _patches(edit: Edit) -> Markup:
    return table(
        [
            (
                _numbers(patch.positions), _numbers(patch.layers), bdi(patch.source.model),
                _numbers(patch.source.positions),
            )
            for patch in edit.patch
        ],
        columns=("tokens", "after layers", "get what was read from", "its tokens"),
        caption="Activations that are patched",
        align="rlll",
    )  # fmt: skip


def _numbers(numbers: Iterable[int]) -> str:
    return _listed(map(str, numbers))


def _listed(parts: Iterable[str]) -> str:
    shown = list(parts)
    left = len(shown) - _MOST
    return ", ".join(shown[:_MOST]) + (f" and {left} more" if left > 0 else "")
