"""One run of a model as data: tokens, expert routing, attention, logit lens, generation and metadata."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..display import Displayed
from .records.trace_records import TraceRecords

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

    from .records.attention import Attention


@dataclass(frozen=True, eq=False, repr=False)
class Trace(TraceRecords, Displayed):
    """What a model computed for a prompt.

    Made by `Lab.trace`, or read from a file by `open_trace`, which needs neither the model nor torch.

    Attributes
    ----------
    tokens
        One row per token of prompt and answer.
    routing
        Expert routing, one column per token; None for a model without experts.
    generation
        The generated tokens; None when only the prompt was read. The last of them was sampled but never read
        by the model: it has no row in `tokens` and no routing.
    meta
        What the run was made with, as JSON values: model, spec, versions, dtype, seed, prompt, hashes of
        media, edit. Tuples become lists and numeric keys text, as a file keeps them.
    timings
        Seconds; not part of `equal`.
    images
        The images of the prompt, in order. Saved only on request.
    attention
        Recorded attention; None if it was not requested.
    logit_lens
        Logit lens at chosen tokens; None if it was not requested.
    features
        Features of a sparse autoencoder at every token; None if there was no `sae`.
    """

    def equal(self, other: Trace) -> bool:
        """Return whether two traces hold the same tokens, records, generation and meta.

        Timings take no part. Images do by their hashes, which are in ``meta``: a file may lack the pixels.
        """
        return (
            self.routing == other.routing
            and self.generation == other.generation
            and self.meta == other.meta
            and self.tokens.equal(other.tokens)
            and _equal_attention(self.attention, other.attention)
            and self.logit_lens == other.logit_lens
            and self.features == other.features
        )

    def save(self, path: str | Path, *, images: bool = False) -> Path:
        """Write the trace as one file and return its path.

        Parameters
        ----------
        path
            Where to write; an existing file is replaced once the new one is complete.
        images
            Whether to store the prompt's images as well. Without them the file still has their hashes.

        Raises
        ------
        LabError
            If the file cannot be written, or `open_trace` would refuse it.
        """
        from .storage.trace_file import write_trace

        return write_trace(self, path, images=images)

    def to_arrow(self) -> dict[str, pa.Table]:
        """Return the trace as Arrow tables: ``tokens``, ``routing``, ``generation``, ``top_logprobs``, ….

        ``routing`` has one row per chosen expert (``layer, token, rank, expert, weight``): with 30 layers and
        8 experts, 240 rows per token. Columns: `gemma_lab.trace.storage.arrow_tables.arrow_tables`.
        """
        from .storage.arrow_tables import arrow_tables

        return arrow_tables(self)

    def to_pandas(self) -> dict[str, pd.DataFrame]:
        """Return the tables of `to_arrow` as pandas data frames (needs pandas)."""
        return {name: table.to_pandas() for name, table in self.to_arrow().items()}

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write the tables of `to_arrow` into a folder, one Parquet file each, and return their paths."""
        from .storage.arrow_tables import write_parquet

        return write_parquet(self, folder)

    def __repr__(self) -> str:
        media = sum(1 for modality in self.tokens.modalities if modality in ("image", "video", "audio"))
        parts = [f"{len(self):,} tokens" + (f" ({media:,} of media)" if media else "")]
        if self.routing is not None:
            parts.append(f"{len(self.routing.layers)} MoE layers")
        if self.generation is not None:
            parts.append(f"{len(self.generation):,} generated")
        model = " ".join(str(self.meta.get("model", "model")).split())  # a repr is one line
        return f"Trace({model}: {', '.join(parts)})"


def open_trace(path: str | Path) -> Trace:
    """Read a saved trace, without torch and without the model.

    Everything is verified: the checksum of every member of the file, every shape against its manifest, every
    number against what a model can give. Arrays above 64 MiB stay in the file, as read-only memory maps.

    Parameters
    ----------
    path
        A file that `Trace.save` wrote.

    Returns
    -------
    Trace

    Raises
    ------
    BadTrace
        If there is no such file, or it is truncated, altered, of another version, or not a trace at all.
    """
    from .storage.trace_file import read_trace

    records = read_trace(path)
    return Trace(**{each.name: getattr(records, each.name) for each in fields(records)})


def _equal_attention(one: Attention | None, other: Attention | None) -> bool:
    return one is other if one is None or other is None else one.equal(other)
