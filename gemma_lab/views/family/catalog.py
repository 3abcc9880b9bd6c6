"""The catalog as text for a terminal and as a table for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...family.catalog import format_parameters, format_weights
from ...units import gib, tokens
from ..base.html import Markup, bdi, definitions, escape, join, link, table

if TYPE_CHECKING:
    from ...family.catalog import Catalog, Checkpoint

_HUB = "https://huggingface.co/"
_COLUMNS = ["name", "modalities", "context", "layers", "experts", "parameters", "weights", "transformers"]


def catalog_text(catalog: Catalog) -> str:
    """Return the catalog as aligned columns of plain text."""
    rows = [_COLUMNS, *(_cells(checkpoint) for checkpoint in catalog)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def catalog_html(catalog: Catalog) -> Markup:
    """Return the catalog as a table with links and footnotes."""
    numbered: dict[str, int] = {}
    rows = []
    for checkpoint in catalog:
        marks = [numbered.setdefault(note, len(numbered) + 1) for note in checkpoint.notes]
        alias, *cells = _cells(checkpoint)
        marked = [f" [{mark}]" for mark in marks]
        rows.append([join([bdi(alias), *marked]), _where(checkpoint), *cells])
    columns = ["Name", "Where", *(title.capitalize() for title in _COLUMNS[1:-1]), "transformers"]
    titles = dict.fromkeys(source.label for checkpoint in catalog for source in checkpoint.sources)
    notes = [f"[{number}] {note}" for note, number in numbered.items()]
    return table(
        rows,
        columns=columns,
        caption=f"Gemma 4 checkpoints ({len(catalog)})",
        align="lllrllrll",
        notes=[
            "Layers: local + global. Weights: computed from the configuration at 16 and 4.5 bits per weight "
            "(decoder matrices only), or published (≈). Context: 1K = 1,024 tokens. transformers: the first "
            "release known to run it; gemma_lab itself needs 5.15.",
            *notes,
            "Sources: " + "; ".join(titles) + ".",
        ],
    )


def checkpoint_html(checkpoint: Checkpoint) -> Markup:
    """Return all facts about one checkpoint."""
    sizes = (
        ", ".join(f"{dtype} {gib(size)}" for dtype, size in checkpoint.weight_bytes.items()) or "not known"
    )
    experts = (
        f"{checkpoint.experts} per layer, {checkpoint.top_k} per token" if checkpoint.experts else "none"
    )
    cited = join([link(source.url, source.label) for source in checkpoint.sources], "; ")
    return definitions(
        [
            ("Where", _where(checkpoint)),
            ("Size and variant", f"{checkpoint.size}, {checkpoint.variant} ({checkpoint.format})"),
            ("Modalities", ", ".join(checkpoint.modalities)),
            ("Context", f"{checkpoint.context:,} tokens"),
            ("Layers", _layers(checkpoint)),
            ("Experts", experts),
            (
                "Parameters",
                f"{checkpoint.parameters:,}" if checkpoint.parameters else "no exact figure known",
            ),
            ("Weights", sizes),
            ("transformers", f"≥ {checkpoint.min_transformers} ({checkpoint.model_type})"),
            *(("Note", note) for note in checkpoint.notes),
            ("Sources", cited),
        ],
        caption=bdi(checkpoint.alias),
    )


def _cells(checkpoint: Checkpoint) -> list[str]:
    return [
        checkpoint.alias,
        " ".join(checkpoint.modalities),
        tokens(checkpoint.context),
        _layers(checkpoint),
        f"{checkpoint.experts} top-{checkpoint.top_k}" if checkpoint.experts else "–",
        format_parameters(checkpoint),
        format_weights(checkpoint),
        f"≥ {checkpoint.min_transformers}",
    ]


def _where(checkpoint: Checkpoint) -> Markup:
    if checkpoint.hub_id is None:
        return escape("ships with gemma_lab")
    marked = " [third-party]" if checkpoint.third_party else ""
    return join([link(_HUB + checkpoint.hub_id, checkpoint.hub_id), marked])


def _layers(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.layers} = {checkpoint.layer_types['local']} + {checkpoint.layer_types['global']}"
