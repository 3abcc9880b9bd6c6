"""Write a file, or make a folder, that a caller names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checks import as_path
from .errors import LabError


def write_file(path: Any, data: bytes, *, example: str) -> Path:
    """Write data to a path, ``~`` expanded, and return the path.

    Parameters
    ----------
    path
        The argument of a caller.
    data
        Content of the file; an earlier file is replaced.
    example
        A call that takes a path, for the hint.

    Raises
    ------
    LabError
        If it is no path or cannot be written.
    """
    target = as_path("path", path, example=example)
    try:
        target.write_bytes(data)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise unwritable(target, error) from error
    return target


def make_folder(name: str, folder: Any, *, example: str) -> Path:
    """Make a folder, and those around it, unless it is there already; ``~`` is expanded.

    Parameters
    ----------
    name
        Name of the argument, for the error.
    folder
        The argument of a caller.
    example
        A call that takes a path, for the hint.

    Raises
    ------
    LabError
        If it is no path or cannot be made.
    """
    target = as_path(name, folder, example=example)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise unwritable(target, error, what="made") from error
    return target


def unwritable(path: Path, error: Exception, *, what: str = "written") -> LabError:
    """Return the error of a file that cannot be written, or of a folder that cannot be made.

    Parameters
    ----------
    path
        Of the file or folder.
    error
        Its cause.
    what
        What could not be done.
    """
    return LabError(
        f"{path} cannot be {what}: {getattr(error, 'strerror', None) or error}.",
        hint="Check that its folder exists, may be written to, and has room.",
    )
