"""Arrays as a safetensors member of a trace file: written in chunks, mapped in place.

Names, types and shapes are known beforehand, from the manifest; a header that states anything else is
refused. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .container import Archive, Writer
from .strict_json import strict_json

Array = np.ndarray[Any, np.dtype[Any]]
#: name -> type and shape, in the order in which they lie in the file
Shapes = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]

#: Members of more bytes stay in the file, as memory maps.
IN_MEMORY = 64 << 20
_ALIGN = 64  # bytes: where the arrays begin in the file, so that memory maps are aligned
_NAMES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<u2": "U16", "|u1": "U8", "<i4": "I32", "<i8": "I64"}
_MAX_HEADER = 1 << 16


def widest_first(shapes: Shapes) -> Shapes:
    """Return shapes in the order that keeps every array aligned in the file."""
    order = sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name))
    return {name: shapes[name] for name in order}


def header_of(shapes: Shapes) -> tuple[dict[str, Any], int]:
    """Return the header of the safetensors file, and the number of bytes of the arrays after it."""
    header, end = {}, 0
    for name, (kind, shape) in shapes.items():
        start, end = end, end + kind.itemsize * math.prod(shape)
        header[name] = {"dtype": _NAMES[kind.str], "shape": list(shape), "data_offsets": [start, end]}
    return header, end


def write_tensors(
    writer: Writer, member: str, shapes: Shapes, chunks: Callable[[str], Iterable[Array]]
) -> None:
    """Add a member.

    Parameters
    ----------
    writer
        Of the trace file.
    member
        Name of the member.
    shapes
        Its arrays, in order.
    chunks
        Returns the parts of an array along its first axis, in order, by the name of the array.
    """
    header, total = header_of(shapes)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    with writer.stream(member, size=8 + len(text) + _ALIGN + total) as (write, offset):
        text += b" " * (-(offset + 8 + len(text)) % _ALIGN)
        write(len(text).to_bytes(8, "little") + text)
        for name, (kind, _) in shapes.items():
            for part in chunks(name):
                if part.size:
                    write(np.ascontiguousarray(part, dtype=kind))


def read_tensors(archive: Archive, member: str, shapes: Shapes) -> dict[str, Array]:
    """Return the arrays of a member, read-only; those of a large member stay in the file.

    Raises
    ------
    BadTrace
        If it is damaged, or holds anything else than `shapes`.
    """
    header, total = header_of(shapes)
    size = archive.bytes_of(member)
    if not total + 10 <= size <= total + _MAX_HEADER:
        raise archive.bad(f"what its manifest states takes {total:,} bytes and {member} has {size:,}")
    if size <= IN_MEMORY:
        data: Any = np.frombuffer(archive.read(member), dtype=np.uint8)
    else:
        offset = archive.verify(member)
        data = np.memmap(archive.path, dtype=np.uint8, mode="r", offset=offset, shape=(size,))
    length = int.from_bytes(data[:8].tobytes(), "little")
    try:
        stated = strict_json(data[8 : 8 + min(length, _MAX_HEADER)].tobytes())
    except ValueError as error:
        raise archive.bad(f"the header of {member} cannot be read ({error})") from error
    if stated != header or 8 + length + total != size:
        raise archive.bad(f"the shapes in {member} contradict the manifest")
    arrays = {}
    for name, (kind, shape) in shapes.items():
        first, last = (8 + length + at for at in header[name]["data_offsets"])
        arrays[name] = data[first:last].view(kind).reshape(shape)
    return arrays
