"""Bytes of a medium, wherever they are: a path, an open file, or the bytes themselves."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from ...errors import BadMedia

#: Largest file that is read into memory, in bytes. A video at a path is not: it is read as it is decoded.
MAX_BYTES = 500_000_000


def is_path(source: Any) -> bool:
    """Return whether a source is a path: a string that is no data URI, or an object with ``__fspath__``."""
    return isinstance(source, os.PathLike) or (isinstance(source, str) and not source.startswith("data:"))


def is_file(source: Any) -> bool:
    """Return whether a source is a path, a data URI, bytes, or a file open for reading."""
    plain = isinstance(source, str | os.PathLike | bytes | bytearray | memoryview)
    return plain or (hasattr(source, "read") and not isinstance(source, type))


def name_of(source: Any, default: str) -> str:
    """Return the file name of a path or of an open file, `default` for bytes."""
    path = source if is_path(source) else getattr(source, "name", None)
    return Path(os.fsdecode(path)).name or default if path is not None and is_path(path) else default


def read_file(source: Any, *, noun: str, accepted: str = "") -> tuple[bytes, str]:
    """Return the bytes of a file and how to call it in an error.

    Parameters
    ----------
    source
        A path, a data URI, the bytes, or a file open for reading bytes. A seekable file is read from its
        beginning, so that it can be passed again, or right after it was written.
    noun
        What it should be: ``"image"``, ``"video"``, ``"sound"``.
    accepted
        What else could have been passed, for the hint.

    Raises
    ------
    BadMedia
        If there is no such file, it is an address, it is closed or open as text, it is empty, or too large.
    """
    if is_path(source):
        path, what = ordinary_path(source, noun=noun, accepted=accepted)
        _check_size(path.stat().st_size, what, noun=noun)
        return path.read_bytes(), what
    if hasattr(source, "read"):
        _rewound(source)
        data, name = _read_all(source), "the open file "
    else:
        data, name = _decoded_uri(source) if isinstance(source, str) else bytes(source), ""
    what = f"{name}({len(data):,} bytes)" if name else f"{len(data):,} bytes"
    if not data:
        raise _empty(what, noun=noun)
    _check_size(len(data), what, noun=noun)
    return data, what


def read_head(source: Any, size: int, *, noun: str, accepted: str = "") -> tuple[bytes, str, bool]:
    """Return the first bytes of a file, how to call it in an error, and whether that is all of it.

    Parameters
    ----------
    source, noun, accepted
        As for `read_file`. An open file that is not seekable is refused, since it could not be read again.
    size
        How many bytes at most.

    Raises
    ------
    BadMedia
        As `read_file`.
    """
    if is_path(source):
        path, what = ordinary_path(source, noun=noun, accepted=accepted)
        _check_size(path.stat().st_size, what, noun=noun)
        with path.open("rb") as file:
            data = file.read(size)
        return data, what, len(data) == path.stat().st_size
    if hasattr(source, "read") and not _rewound(source):
        raise BadMedia(
            f"The open file cannot be rewound, so its {noun} can be read only once.",
            hint="Pass the bytes: file.read().",
        )
    data, what = read_file(source, noun=noun, accepted=accepted)
    if hasattr(source, "read"):
        source.seek(0)
    return data, what, True


def rereadable(source: Any, *, noun: str) -> Any:
    """Return the bytes of an open file that cannot be rewound, and any other source as it is."""
    if is_path(source) or not is_file(source) or not hasattr(source, "read") or _rewound(source):
        return source
    return read_file(source, noun=noun)[0]


def ordinary_path(source: Any, *, noun: str, accepted: str = "") -> tuple[Path, str]:
    """Return the path of an ordinary file that can be read, and how to call it in an error.

    Raises
    ------
    BadMedia
        If it is an address, or there is no such file.
    """
    text = os.fsdecode(source)
    if text.startswith(("http://", "https://", "ftp://", "gs://", "s3://")):
        raise BadMedia(
            f"{text[:80]!r} is an address; gemma_lab downloads nothing on its own.",
            hint=f"Save the {noun} to a file, or pass its bytes.",
        )
    reason = ""
    try:
        path = Path(text).expanduser()
        if not path.is_file():  # a folder, or a device that never ends
            reason = "Not an ordinary file" if path.exists() else "No such file"
        elif not os.access(path, os.R_OK):
            reason = "Permission denied"
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a NUL; RuntimeError: an unknown ~user
        reason = getattr(error, "strerror", None) or str(error)
    if reason:
        raise BadMedia(
            f"The {noun} {text[:200]!r} cannot be read: {reason}.",
            hint=f"Relative paths start at {str(Path.cwd())!r}. {accepted}".rstrip(),
        )
    size = path.stat().st_size
    what = f"{text[:200]!r} ({size:,} bytes)"
    if not size:
        raise _empty(what, noun=noun)
    return path, what


def _decoded_uri(uri: str) -> bytes:
    """Return the bytes of a data URI (RFC 2397)."""
    header, comma, payload = uri.partition(",")
    try:
        if not comma:
            raise ValueError("it has no comma")
        decoded = unquote_to_bytes(payload)
        return base64.b64decode(decoded, validate=True) if header.endswith(";base64") else decoded
    except ValueError as error:
        raise BadMedia(
            f"The data URI {uri[:40]!r} cannot be decoded: {error}.",
            hint="It must be data:TYPE;base64,BYTES.",
        ) from error


def _rewound(file: Any) -> bool:
    """Move an open file to its beginning; return False if it cannot be moved."""
    try:
        file.seek(0)
    except (OSError, AttributeError, ValueError):  # a pipe; no such method; a closed file, refused by `read`
        return False
    return True


def _read_all(file: Any) -> bytes:
    """Read an open file to its end, or a little beyond `MAX_BYTES`."""
    parts, size = [], 0
    try:
        while size <= MAX_BYTES:
            part = file.read(1 << 24)
            if not isinstance(part, bytes):
                raise BadMedia(
                    f"The file returns {type(part).__name__}, not bytes.",
                    hint='Open it with open(path, "rb").',
                )
            if not part:
                break
            parts.append(part)
            size += len(part)
    except (OSError, ValueError, TypeError) as error:  # closed, or open for writing
        raise BadMedia(
            f"The open file cannot be read: {error}.",
            hint='Open it with open(path, "rb"), or pass its bytes.',
        ) from error
    return b"".join(parts)


def _empty(what: str, *, noun: str) -> BadMedia:
    return BadMedia(f"The {noun} is empty: {what}.", hint="Check how the file was written.")


def _check_size(size: int, what: str, *, noun: str) -> None:
    if size > MAX_BYTES:
        raise BadMedia(
            f"The {noun} is too large: {what}; at most {MAX_BYTES // 1_000_000} MB are read.",
            hint="Make a smaller copy, or cut out the part that matters.",
        )
