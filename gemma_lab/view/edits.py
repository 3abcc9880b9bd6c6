"""An edit of experts as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .html import Markup, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..trace.edits import Edit

_MOST = 40  # experts of one cell


def edit_html(edit: Edit) -> Markup:
    """Return an edit as HTML: one row a layer that it names, and what it does there.

    Parameters
    ----------
    edit
        The edit; "every" layer means every one that has experts.

    Returns
    -------
    Markup
    """
    rows = [
        (
            "every" if layer == "all" else layer,
            _listed(map(str, edit.ablate_experts.get(layer, ()))),
            _listed(
                f"{expert} ({nats:+g})".replace("-", "−")
                for expert, nats in edit.boost_experts.get(layer, {}).items()
            ),
            _listed(map(str, edit.force_experts.get(layer, ()))),
        )
        for layer in edit.layers
    ]
    return table(
        rows or [("none", "", "", "")],
        columns=("layer", "never chosen", "boosted (nats)", "always chosen"),
        caption="Edit of experts",
        align="rlll",
    )


def _listed(parts: Iterable[str]) -> str:
    shown = list(parts)
    left = len(shown) - _MOST
    return ", ".join(shown[:_MOST]) + (f" and {left} more" if left > 0 else "")
