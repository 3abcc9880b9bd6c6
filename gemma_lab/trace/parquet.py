"""Tables inside a trace file.

Parquet is written there without compression, numbers plainly and texts as a dictionary, and read only so:
what a hostile table can claim is then bounded by what it really holds.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .archive import Archive, Writer

#: Bytes of a column of texts, written out.
MOST_TEXT = 256 << 20


def member_of(name: str) -> str:
    """Return the name of a table's member in a trace file."""
    return f"tables/{name}.parquet"


def write_table(writer: Writer, name: str, table: pa.Table) -> None:
    """Add a table to a trace file."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=texts or False, store_schema=False)
    writer.add(member_of(name), sink.getbuffer())


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
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        _check_form(archive, name, file, schema=schema, rows=rows)
        table = file.read(use_threads=False)
        for text in texts:
            _check_text(archive, name, table.column(text))
        return table.cast(schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # the first is not always one of the others
        raise archive.bad(f"its table {name!r} cannot be read ({_first_line(error)})") from error


def _check_form(archive: Archive, name: str, file: Any, *, schema: pa.Schema, rows: int) -> None:
    meta = file.metadata
    missing = [column for column in schema.names if column not in file.schema_arrow.names]
    if missing or len(file.schema_arrow.names) != len(schema.names):
        what = f"has no column {missing[0]!r}" if missing else "has columns that it should not have"
        raise archive.bad(f"its table {name!r} {what}")
    for field in schema:
        found = file.schema_arrow.field(field.name).type
        found = found.value_type if pa.types.is_dictionary(found) else found
        if found != field.type:
            raise archive.bad(f"column {field.name!r} of its table {name!r} is {found}, not {field.type}")
    if meta.num_rows != rows:
        raise archive.bad(f"its table {name!r} has {meta.num_rows:,} rows, not {rows:,}")
    for group in range(meta.num_row_groups):
        part = meta.row_group(group)
        if any(part.column(at).compression != "UNCOMPRESSED" for at in range(part.num_columns)):
            raise archive.bad(f"its table {name!r} is compressed, which a trace's tables are not")


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
