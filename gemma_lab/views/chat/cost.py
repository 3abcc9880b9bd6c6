"""What a prompt costs, in one line and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, table
from ..base.units import gib
from .chat import visible

if TYPE_CHECKING:
    from ...models.chat.cost import Cost

_NAMES = {"text": "text", "image": "pictures", "video": "video", "audio": "sound"}


def cost_line(cost: Cost) -> str:
    """Return a cost in one line: tokens by medium, of the context, cache and memory."""
    parts = [f"{count:,} {_NAMES[kind]}" for kind, count in cost.tokens.items()]
    listed = f": {' + '.join(parts)}" if len(parts) > 1 else ""
    over = "" if cost.fits else ", does not fit"
    answer = f" + {cost.max_new_tokens:,} generated" if cost.max_new_tokens else ""
    return (
        f"{cost.prompt_tokens:,} tokens{listed}{answer}, of {cost.context:,}{over}; "
        f"KV cache {gib(cost.kv_cache_bytes)}, reading about {gib(cost.prefill_bytes)}"
    )


def cost_html(cost: Cost) -> Markup:
    """Return a cost as a table: one row a medium, then what they come to."""
    rows: list[tuple[object, object, object]] = [("text and chat format", "", f"{cost.tokens['text']:,}")]
    for number, item in enumerate(cost.media, 1):
        rows.append((f"{number}. {_NAMES[item.kind].removesuffix('s')}", item.what, f"{item.tokens:,}"))
    if cost.max_new_tokens:
        rows.append(("answer, at most", "", f"{cost.max_new_tokens:,}"))
    share = (cost.prompt_tokens + cost.max_new_tokens) / cost.context
    rows.append(("of the context", f"{cost.context:,} tokens", f"{100 * share:.1f} %"))
    notes = [
        f"Keys and values then take {gib(cost.kv_cache_bytes)}; reading the prompt takes about "
        f"{gib(cost.prefill_bytes)} beside the weights, towers not counted.",
    ]
    if not cost.fits:
        notes.insert(0, "This does not fit into the context: shorten it, or lower the budget.")
    return table(
        rows, columns=("", "size", "tokens"), align="llr", notes=notes,
        caption=f"Cost for {visible(cost.model)}: {cost.prompt_tokens:,} tokens",
    )  # fmt: skip
