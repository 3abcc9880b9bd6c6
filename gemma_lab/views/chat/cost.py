"""The cost of a prompt, in one line and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...units import gib
from ..base.figure import OKABE_ITO, Plot, hide_frame, new_figure
from ..base.html import Markup, table
from ..base.text import visible

if TYPE_CHECKING:
    from ...models.chat.cost import Cost

_COLOURS = {"text": "blue", "image": "green", "video": "purple", "audio": "orange", "answer": "sky"}
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
        f"The key-value cache takes {gib(cost.kv_cache_bytes)}, prefill about {gib(cost.prefill_bytes)}; "
        "weights and media encoders are not counted.",
    ]
    if not cost.fits:
        notes.insert(0, "This does not fit into the context: shorten it, or lower max_soft_tokens.")
    return table(
        rows, columns=("", "size", "tokens"), align="llr", notes=notes,
        caption=f"Cost for {visible(cost.model)}: {cost.prompt_tokens:,} tokens",
    )  # fmt: skip


def cost_figure(cost: Cost) -> Plot:
    """Draw the tokens of a prompt by modality, and of the answer, against the context.

    Parameters
    ----------
    cost
        From `Lab.cost`.
    """
    parts = {kind: count for kind, count in {**cost.tokens, "answer": cost.max_new_tokens}.items() if count}
    with new_figure(7.5, 1.5) as (figure, axes):
        left = 0
        for kind, count in parts.items():
            label = f"{_NAMES.get(kind, kind)}: {count:,}"
            axes.barh(0, count, left=left, color=OKABE_ITO[_COLOURS[kind]], height=0.6, label=label)
            left += count
        if left > cost.context / 20:
            axes.axvline(cost.context, color=OKABE_ITO["vermillion"], lw=1.5)
        axes.set(yticks=[], xlim=(0, left * 1.05), xlabel=f"tokens, of a context of {cost.context:,}")
        hide_frame(axes, keep="bottom")
        figure.legend(loc="outside lower left", ncols=5)
    return Plot(figure, text=str(cost))
