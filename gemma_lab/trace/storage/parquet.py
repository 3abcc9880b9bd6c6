"""Tables inside a trace file.

Parquet is written there without compression, numbers plainly and texts as a dictionary, and read only so:
what a hostile table can claim is then bounded by what it really holds.
"""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .container import Archive, Writer
from .parquet_footer import check_footer

#: Bytes of a column of texts, written out.
MOST_TEXT = 256 << 20


def member_of(name: str) -> str:
    """Return the name of a table's member in a trace file."""
    return f"tables/{name}.parquet"


def write_table(writer: Writer, name: str, table: pa.Table) -> None:
    """Add a table to a trace file."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression="none", use_dictionary=texts or False, store_schema=False,
        write_statistics=False,
    )  # fmt: skip
    writer.add(member_of(name), sink.getvalue())


def read_table(archive: Archive, name: str, *, schema: pa.Schema, rows: int) -> pa.Table:
    """Return a table of a trace file.

    Parameters
    ----------
    archive
        The open file.
    name
        ``"tokens"``, ….
    schema
        The columns it must have.
    rows
        How many rows it must have.

    Raises
    ------
    BadTrace
        If it has other columns or rows, is compressed, or is no Parquet.
    """
    if member_of(name) not in archive:
        raise archive.bad(f"it has no table {name!r}")
    data = archive.read(member_of(name))
    if len(data) < 4 * rows:
        raise archive.bad(f"its table {name!r} cannot hold {rows:,} rows in {len(data):,} bytes")
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        check_footer(data, columns=schema.names, rows=rows)
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        _check_types(archive, name, found=file.schema_arrow, wanted=schema)
        table = file.read(use_threads=False)
        table.validate(full=True)  # Arrow checks neither UTF-8 nor places in a dictionary while it reads
        for text in texts:
            _check_text(archive, name, table.column(text))
        return table.cast(schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # the first is not always one of the others
        raise archive.bad(f"its table {name!r} cannot be read ({_first_line(error)})") from error


def _check_types(archive: Archive, name: str, *, found: pa.Schema, wanted: pa.Schema) -> None:
    for field in wanted:
        kind = found.field(field.name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if kind != field.type:
            raise archive.bad(f"column {field.name!r} of its table {name!r} is {kind}, not {field.type}")


def _check_text(archive: Archive, name: str, column: pa.ChunkedArray) -> None:
    """Refuse a few bytes that stand for more text than any prompt has."""
    total = 0
    for chunk in column.chunks:
        if chunk.null_count:
            raise archive.bad(f"its table {name!r} has empty cells")
        lengths = np.asarray(pc.binary_length(chunk.dictionary), dtype=np.int64)
        total += int(lengths[np.asarray(chunk.indices)].sum()) if len(chunk) else 0
    if total > MOST_TEXT:
        raise archive.bad(f"its table {name!r} stands for {total:,} bytes of text")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
