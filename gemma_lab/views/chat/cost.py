"""The cost of a prompt, in one line and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, table
from ..base.text import visible
from ..base.units import gib

if TYPE_CHECKING:
    from ...models.chat.cost import Cost

_NAMES = {"text": "text", "image": "images", "video": "video", "audio": "audio"}


def cost_html(cost: Cost) -> Markup:
    """Return a cost as a table: one row per medium, then the totals."""
    rows: list[tuple[object, object, object]] = [("text and chat format", "", f"{cost.tokens['text']:,}")]
    for number, item in enumerate(cost.media, 1):
        rows.append((f"{number}. {_NAMES[item.kind].removesuffix('s')}", item.size, f"{item.tokens:,}"))
    if cost.max_new_tokens:
        rows.append(("answer (max_new_tokens)", "", f"{cost.max_new_tokens:,}"))
    share = (cost.prompt_tokens + cost.max_new_tokens) / cost.context
    rows.append(("of the context", f"{cost.context:,} tokens", f"{100 * share:.1f} %"))
    notes = [
        f"The key-value cache takes {gib(cost.kv_cache_bytes)}, prefill about {gib(cost.prefill_bytes)} more; "
        "weights and media encoders are not counted.",
    ]
    if not cost.fits:
        notes.insert(0, "This does not fit into the context: shorten it, or lower max_soft_tokens.")
    return table(
        rows, columns=("", "size", "tokens"), align="llr", notes=notes,
        caption=f"Cost for {visible(cost.model)}: {cost.prompt_tokens:,} tokens",
    )  # fmt: skip
