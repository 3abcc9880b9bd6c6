"""Codec, sizes and row counts from the footer of a Parquet file, before pyarrow reads the file.

pyarrow (26) turns forged footers into exceptions, but it allocates what a compressed page claims to hold, up
to 2 GiB each, and has no option that forbids compression. Asking it for a column's codec
(``metadata.row_group(i).column(j)``) ends the process when the column's size histograms are forged. So they
are read here; fields that are not needed are skipped, so that files of later writers are read as well.

Format: https://github.com/apache/parquet-format (``parquet.thrift``), in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
_DEEPEST = 16
# Field numbers of parquet.thrift
_ROWS, _GROUPS, _KEY_VALUES, _ENCRYPTION = 3, 4, 5, 8  # of FileMetaData
_COLUMNS, _GROUP_ROWS = 1, 3  # of RowGroup
_FILE_PATH, _META = 1, 3  # of ColumnChunk
_CODEC, _VALUES, _UNCOMPRESSED, _COMPRESSED = 4, 5, 6, 7  # of ColumnMetaData


def check_uncompressed(data: bytes, *, rows: int) -> None:
    """Raise `ValueError` unless a Parquet file has this many rows and every column is stored uncompressed.

    Parameters
    ----------
    data
        The bytes of the file.
    rows
        The number of rows that it must have.
    """
    size = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or data[:4] != _MAGIC or data[-4:] != _MAGIC or size > len(data) - 12:
        raise ValueError("it is not a Parquet file")
    file = _Reader(data[-8 - size : -8]).struct()
    if _KEY_VALUES in file or _ENCRYPTION in file:
        raise ValueError("it is encrypted or has key-value metadata")
    counts = []
    for group in _structs(file.get(_GROUPS)):
        counts.append(_count(group.get(_GROUP_ROWS)))
        for chunk in _structs(group.get(_COLUMNS)):
            meta = chunk.get(_META)
            if not isinstance(meta, dict) or _FILE_PATH in chunk:
                raise ValueError("a column is not described, or is in another file")
            if meta.get(_CODEC) != 0:
                raise ValueError("a column is compressed")
            if meta.get(_VALUES) != counts[-1] or meta.get(_UNCOMPRESSED) != meta.get(_COMPRESSED):
                raise ValueError("a column does not have the rows of its table, or is compressed")
            if _count(meta.get(_COMPRESSED)) > len(data):
                raise ValueError(f"a column claims {meta[_COMPRESSED]} bytes")
    if file.get(_ROWS) != rows or sum(counts) != rows:
        raise ValueError(f"it has {str(file.get(_ROWS))[:20]} rows, not {rows:,}")


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("its footer is damaged")
    return value


def _structs(value: Any) -> list[dict[int, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("its footer is damaged")
    return value


@dataclass
class _Reader:
    """Reader of Thrift's compact protocol: structs become dicts by field number, all else plain values."""

    data: bytes
    position: int = 0
    depth: int = 0

    def struct(self) -> dict[int, Any]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            if number in fields:
                raise ValueError("its footer gives a field twice")
            kind = head & 0xF
            fields[number] = kind == 1 if kind in (1, 2) else self.value(kind)  # booleans are in the type
        self.depth -= 1
        return fields

    def value(self, kind: int) -> Any:
        if kind in (1, 2):  # a boolean element of a list
            return self.byte() == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            return self.take(8)
        if kind == 8:
            return self.take(self.varint())
        if kind in (9, 10):
            return self.values()
        if kind == 12:
            return self.struct()
        raise ValueError("its footer is damaged")

    def values(self) -> list[Any]:
        head = self.byte()
        count, kind = head >> 4, head & 0xF
        if count == 15:
            count = self.varint()
        if count > len(self.data) - self.position:  # each element takes at least one byte
            raise ValueError("its footer is damaged")
        return [self.value(kind) for _ in range(count)]

    def zigzag(self) -> int:
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def varint(self) -> int:
        number = shift = 0
        while (byte := self.byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("its footer is damaged")
        return number | byte << shift

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise ValueError("its footer is cut short")
        part, self.position = self.data[self.position : end], end
        return part
