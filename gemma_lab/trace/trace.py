"""One run of a model, as data: its tokens, their routing, what was generated, and what it ran on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import Displayed
from ..errors import BadTrace

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa
    from PIL.Image import Image

    from .records.attention import Attention
    from .records.generation import Generation
    from .records.logit_lens import LogitLens
    from .records.routing import Routing
    from .tokens.table import TokenTable


@dataclass(frozen=True, eq=False)
class Trace(Displayed):
    """What a model did with a prompt, openable without the model and without torch.

    `Lab.trace` makes one; `gemma_lab.open_trace` reads a saved one.

    Attributes
    ----------
    tokens
        One row a token of prompt and answer.
    routing
        What the routers did, one column a token; None for a model without experts.
    generation
        The generated tokens; None when only the prompt was read. The last of them was chosen but not read: it
        has no row in `tokens` and no routing.
    meta
        What it ran on, as plain values: model, spec, versions, dtype, seed, prompt, hashes of media, edit.
    timings
        Seconds; they take no part in `equal`.
    images
        The pictures of the prompt, in their order. Saved only when asked for.
    attention
        Where every head looked; None if it was not asked for.
    logit_lens
        What each layer would say at chosen tokens; None if it was not asked for.
    """

    tokens: TokenTable
    routing: Routing | None = None
    generation: Generation | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    attention: Attention | None = None
    logit_lens: LogitLens | None = None

    def __post_init__(self) -> None:
        if self.routing is not None and len(self.routing) != len(self.tokens):
            raise BadTrace(
                f"The routing covers {len(self.routing):,} tokens, the token table {len(self.tokens):,}.",
                hint="Trace again, or open another file.",
            )

        if self.attention is not None and len(self.attention) != len(self.tokens):
            raise BadTrace(
                f"The attention covers {len(self.attention):,} tokens, the token table {len(self.tokens):,}.",
                hint="Trace again, or open another file.",
            )
        if (
            self.logit_lens is not None
            and len(self.logit_lens)
            and self.logit_lens.positions[-1] >= len(self.tokens)
        ):
            raise BadTrace(
                f"The lens looks at token {self.logit_lens.positions[-1]:,} of {len(self.tokens):,}.",
                hint="Trace again, or open another file.",
            )
        if self.generation is not None:
            rows = self.tokens.ids[self.tokens.generated]
            if not np.array_equal(rows, self.generation.ids[: len(rows)]):
                raise BadTrace(
                    f"The {len(rows):,} generated rows of the token table are not the first of the "
                    f"{len(self.generation):,} generated tokens.",
                    hint="Trace again, or open another file.",
                )

    def __len__(self) -> int:
        return len(self.tokens)

    def equal(self, other: Trace) -> bool:
        """Return whether two traces say the same: tokens, routing, attention, lens, generation and meta.

        Timings take no part. Pictures do by their hashes, which are in ``meta``: a file may lack the pixels.
        """
        return (
            self.routing == other.routing
            and self.generation == other.generation
            and _plain(self.meta) == _plain(other.meta)
            and self.tokens.equal(other.tokens)
            and _same(self.attention, other.attention)
            and self.logit_lens == other.logit_lens
        )

    def save(self, path: str | Path, *, images: bool = False) -> Path:
        """Write the trace as one file and return its path (`gemma_lab.trace.storage.trace_file.save_trace`)."""
        from .storage.trace_file import save_trace

        return save_trace(self, path, images=images)

    def to_arrow(self) -> dict[str, pa.Table]:
        """Return the trace as Arrow tables: ``tokens``, ``routing``, ``generation`` and ``top_logprobs``.

        ``routing`` has one row an expert chosen (``layer, token, rank, expert, weight``): with 30 layers and
        8 experts, 240 rows a token. The columns: `gemma_lab.trace.storage.arrow_tables.arrow_tables`.
        """
        from .storage.arrow_tables import arrow_tables

        return arrow_tables(self)

    def to_pandas(self) -> dict[str, pd.DataFrame]:
        """Return the tables of `to_arrow` as pandas frames (needs pandas)."""
        return {name: table.to_pandas() for name, table in self.to_arrow().items()}

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write the tables of `to_arrow` into a folder, one Parquet file each, and return their paths."""
        from .storage.arrow_tables import write_parquet

        return write_parquet(self, folder)

    def __repr__(self) -> str:
        seen = sum(1 for modality in self.tokens.modalities if modality in ("image", "video", "audio"))
        parts = [f"{len(self):,} tokens" + (f" ({seen:,} of media)" if seen else "")]
        if self.routing is not None:
            parts.append(f"{len(self.routing.layers)} MoE layers")
        if self.generation is not None:
            parts.append(f"{len(self.generation):,} generated")
        model = " ".join(str(self.meta.get("model", "model")).split())  # a repr is one line
        return f"Trace({model}: {', '.join(parts)})"


def _same(mine: Attention | None, other: Attention | None) -> bool:
    return mine is other if mine is None or other is None else mine.equal(other)


def _plain(meta: dict[str, Any]) -> Any:
    # as a file keeps it: tuples are lists there, and numbers that name something are text
    return json.loads(json.dumps(meta, default=repr))
