"""Tables inside a trace file: plain Parquet, so that a table needs no more memory than its bytes allow.

Written uncompressed, with numbers plain and texts as a dictionary, and read only so. pyarrow turns a damaged
or forged table into an exception, within the size limits given here; what it would decompress is refused
before (`parquet_footer`).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .container import Archive, Writer
from .parquet_footer import check_uncompressed

#: Bytes of the texts of a column.
MAX_TEXT = 256 << 20
#: Bytes of a name and entries of a list in the footer: columns and row groups.
_MAX_FOOTER = 1 << 16


def member_of(name: str) -> str:
    """Return the name of a table's member in a trace file."""
    return f"tables/{name}.parquet"


def write_table(writer: Writer, name: str, table: pa.Table) -> None:
    """Add a table to a trace file."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        compression="none",
        use_dictionary=texts or False,
        store_schema=False,
        write_statistics=False,
    )
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
        The number of rows it must have.

    Raises
    ------
    BadTrace
        If it has other columns or rows, has empty cells, is compressed, or is not Parquet.
    """
    if member_of(name) not in archive:
        raise archive.bad(f"it has no table {name!r}")
    data = archive.read(member_of(name))
    if len(data) < 4 * rows:  # also a dictionary takes more; bounds the memory of the columns
        raise archive.bad(f"its table {name!r} cannot hold {rows:,} rows in {len(data):,} bytes")
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    try:
        check_uncompressed(data, rows=rows)
        file = pq.ParquetFile(
            pa.BufferReader(data),
            read_dictionary=texts,
            thrift_string_size_limit=_MAX_FOOTER,
            thrift_container_size_limit=_MAX_FOOTER,
        )
        _check_schema(file.schema_arrow, schema)
        table = file.read(use_threads=False)
        table.validate(full=True)  # pyarrow checks neither UTF-8 nor dictionary indices while it reads
        if any(column.null_count for column in table.columns):
            raise ValueError("it has empty cells")
        for text in texts:
            _check_text(text, table.column(text))
        return table.cast(schema)
    except KeyError as error:  # of read_dictionary
        raise archive.bad(f"its table {name!r} has no column {_first_line(error)}") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise archive.bad(f"its table {name!r} cannot be read: {_first_line(error)}") from error


def read_columns(archive: Archive, name: str, *, schema: pa.Schema, rows: int) -> dict[str, Any]:
    """Return the columns of a table of a trace file as NumPy arrays, texts as an array of objects."""
    table = read_table(archive, name, schema=schema, rows=rows)
    return {column: table.column(column).to_numpy() for column in table.column_names}


def _check_schema(stored: pa.Schema, schema: pa.Schema) -> None:
    if missing := [name for name in schema.names if name not in stored.names]:
        raise ValueError(f"it has no column {missing[0]!r}")
    if stored.names != schema.names:
        raise ValueError("it has other columns")
    for field in schema:
        kind = stored.field(field.name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if kind != field.type:
            raise ValueError(f"its column {field.name!r} is {kind}, not {field.type}")


def _check_text(name: str, column: pa.ChunkedArray) -> None:
    """Refuse a column whose dictionary expands a few bytes to too much text."""
    total = 0
    for chunk in column.chunks:
        lengths = np.asarray(pc.binary_length(chunk.dictionary), dtype=np.int64)
        total += int(lengths[np.asarray(chunk.indices)].sum()) if len(chunk) else 0
    if total > MAX_TEXT:
        raise ValueError(f"its column {name!r} expands to {total:,} bytes of text")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
