"""What a Parquet file says of itself, read here before Arrow reads it.

Arrow trusts some of it: a forged footer can end the process (size histograms of the wrong length do, in Arrow
26) or make it allocate gigabytes. So whatever a trace's own tables do not have is refused first.

Format: https://github.com/apache/parquet-format (``parquet.thrift``), in Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_MAGIC = b"PAR1"
_DEEPEST = 16
#: fields of FileMetaData: version, schema, rows, row groups, created by, column orders
_FILE = {1, 2, 3, 4, 6, 7}
#: of RowGroup: columns, bytes, rows, place, compressed bytes, ordinal
_GROUP = {1, 2, 3, 5, 6, 7}
#: of ColumnChunk: place, meta data
_CHUNK = {2, 3}
#: of ColumnMetaData: type, encodings, path, codec, values, bytes twice, pages, encodings of the pages, sizes
_COLUMN = {1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16}


def check_footer(data: bytes, *, columns: list[str], rows: int) -> None:
    """Refuse a Parquet file that is not plain: compressed, encrypted, nested, with statistics, or elsewhere.

    Parameters
    ----------
    data
        The whole file.
    columns
        The names of its columns, in their order.
    rows
        How many rows it has.

    Raises
    ------
    ValueError
        With what is wrong.
    """
    size = int.from_bytes(data[-8:-4], "little")
    if len(data) < 12 or data[:4] != _MAGIC or data[-4:] != _MAGIC or size > len(data) - 12:
        raise ValueError("it is no Parquet file")
    file = _Reader(data[-8 - size : -8]).struct()
    _only(file, _FILE, "file")
    if file.get(3) != rows:
        raise ValueError(f"it has {_short(file.get(3))} rows, not {rows:,}")
    schema = _structs(file.get(2))[1:]  # the first is the root
    names = [_text(element.get(4)) for element in schema]
    if names != columns or any(element.get(5) for element in schema):
        missing = [name for name in columns if name not in names]
        raise ValueError(f"it has no column {missing[0]!r}" if missing else "it has other columns")
    groups = _structs(file.get(4))
    for group in groups:
        _only(group, _GROUP, "row group")
        chunks = _structs(group.get(1))
        if len(chunks) != len(columns):
            raise ValueError("a row group has other columns")
        for chunk, name in zip(chunks, columns, strict=True):
            _check_chunk(chunk, name=name, rows=group.get(3), size=len(data))
    counts: list[Any] = [group.get(3) for group in groups]
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != rows:
        raise ValueError("its row groups do not add up")


def _check_chunk(chunk: dict[int, Any], *, name: str, rows: Any, size: int) -> None:
    _only(chunk, _CHUNK, "column")
    meta = chunk.get(3)
    if not isinstance(meta, dict):
        raise ValueError("a column is not described")
    _only(meta, _COLUMN, "column")
    if meta.get(4) != 0:
        raise ValueError(f"column {name!r} is compressed, which no column of a trace is")
    if meta.get(3) != [name.encode()] or meta.get(5) != rows:
        raise ValueError(f"column {name!r} does not have the rows of its table")
    if meta.get(6) != meta.get(7) or type(meta.get(7)) is not int or not 0 <= meta[7] <= size:
        raise ValueError(f"column {name!r} claims {_short(meta.get(6))} bytes")
    sizes = meta.get(16, {})  # how many values at each repetition level, and empty ones and others
    if not isinstance(sizes, dict) or sizes.get(2, []) or sizes.get(3, []) not in ([], [0, rows]):
        raise ValueError(f"column {name!r} has empty or repeated cells")


def _only(found: dict[int, Any], known: set[int], what: str) -> None:
    if odd := sorted(set(found) - known):
        raise ValueError(f"its {what} has a field {odd[0]} that no trace has")


def _structs(value: Any) -> list[dict[int, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError("its footer is damaged")
    return value


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _short(value: Any) -> str:
    return str(value)[:20]


@dataclass
class _Reader:
    """Reads Thrift's compact protocol: structs as dicts by field number, all else as plain values."""

    data: bytes
    at: int = 0
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
                raise ValueError("its footer says a thing twice")
            fields[number] = self.field(head & 0xF)
        self.depth -= 1
        return fields

    def field(self, kind: int) -> Any:
        """Return a value; a boolean field has it in its type."""
        return kind == 1 if kind in (1, 2) else self.value(kind)

    def value(self, kind: int) -> Any:
        if kind in (1, 2):  # an element of a list
            return self.byte() == 1
        if kind == 3:
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind == 7:
            return self.take(8)
        if kind == 8:
            return self.take(self.varint())
        if kind == 9:
            return self.values()
        if kind == 12:
            return self.struct()
        raise ValueError("its footer is damaged")

    def values(self) -> list[Any]:
        head = self.byte()
        count, kind = head >> 4, head & 0xF
        if count == 15:
            count = self.varint()
        if count > len(self.data) - self.at:  # each takes a byte at least
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
        end = self.at + count
        if end > len(self.data):
            raise ValueError("its footer is cut short")
        part, self.at = self.data[self.at : end], end
        return part
