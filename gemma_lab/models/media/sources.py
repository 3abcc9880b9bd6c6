"""Bytes of a medium, from wherever they are: a path, an open file, or the bytes themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import BadMedia

#: Largest file that is read into memory, in bytes. A video at a path is not: it is read piece by piece.
MAX_BYTES = 500_000_000


def is_file(source: Any) -> bool:
    """Return whether a source is a path, bytes, or a file open for reading."""
    return isinstance(source, str | Path | bytes | bytearray | memoryview) or hasattr(source, "read")


def read_file(source: Any, *, noun: str, accepted: str = "") -> tuple[bytes, str]:
    """Return the bytes of a file and how to call it in an error.

    Parameters
    ----------
    source
        A path, the bytes, or a file open for reading bytes.
    noun
        What it should be: ``"picture"``, ``"video"``, ``"sound"``.
    accepted
        What else could have been passed, for the hint.

    Raises
    ------
    BadMedia
        If there is no such file, it is an address, it is open as text, or it is empty.
    """
    if isinstance(source, str | Path):
        return _from_path(source, noun=noun, accepted=accepted)
    if hasattr(source, "read"):
        data, name = source.read(), "the open file"
        if not isinstance(data, bytes):
            raise BadMedia("The file is open as text, not as bytes.", hint='Open it with open(path, "rb").')
    else:
        data, name = bytes(source), ""
    what = f"{name} ({len(data):,} bytes)" if name else f"{len(data):,} bytes"
    if not data:
        raise BadMedia(f"The {noun} is empty: {what}.", hint="Check how the file was written.")
    _not_huge(len(data), what, noun=noun)
    return data, what


def ordinary_path(source: str | Path, *, noun: str, accepted: str = "") -> tuple[Path, str]:
    """Return the path of an ordinary file that can be read, and how to call it in an error.

    Raises
    ------
    BadMedia
        If it is an address, or there is no such file.
    """
    text = str(source)
    if text.startswith(("http://", "https://", "data:")):
        raise BadMedia(
            f"{text[:80]!r} is an address; gemma_lab downloads nothing on its own.",
            hint=f"Save the {noun} to a file, or pass its bytes.",
        )
    reason = ""
    try:
        path = Path(text).expanduser()
        if not path.is_file():  # a folder, or a device that never ends
            reason = "No such file" if not path.exists() else "It is no ordinary file"
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
        raise BadMedia(f"The {noun} is empty: {what}.", hint="Check how the file was written.")
    return path, what


def _from_path(source: str | Path, *, noun: str, accepted: str) -> tuple[bytes, str]:
    path, what = ordinary_path(source, noun=noun, accepted=accepted)
    _not_huge(path.stat().st_size, what, noun=noun)
    return path.read_bytes(), what


def _not_huge(size: int, what: str, *, noun: str) -> None:
    if size > MAX_BYTES:
        raise BadMedia(
            f"The {noun} is too large: {what}; at most {MAX_BYTES // 1_000_000} MB are read.",
            hint="Make a smaller copy, or cut out the part that matters.",
        )
