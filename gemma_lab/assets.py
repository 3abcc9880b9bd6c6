"""Locate the files that ship with the project: minis, images, and their manifest.

In a checkout they are in ``data/`` at the top; a wheel carries the same folder inside the package.
"""

from __future__ import annotations

from pathlib import Path

from .errors import LabError

_PACKAGE = Path(__file__).parent


def data_root() -> Path:
    """Return the folder that holds the shipped data.

    Raises
    ------
    LabError
        If neither the wheel's copy nor the checkout's ``data/`` is there.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if (folder / "manifest.json").is_file():
            return folder
    raise LabError(
        "The data that ships with gemma_lab (mini models, sample pictures) was not found.",
        hint="Reinstall the package, or run from a checkout that has a data/ folder.",
    )


def data_path(relative: str) -> Path:
    """Return the path of one shipped file or folder, e.g. ``"minis/mini-moe"``.

    Raises
    ------
    LabError
        If it does not exist.
    """
    if not isinstance(relative, str | Path):
        raise LabError(f"{relative!r:.60} is not a path.", hint='gl.data_path("minis/mini-moe")')
    path = data_root() / relative
    if not path.exists():
        raise LabError(
            f"{relative!r} is not among the data that ships with gemma_lab.",
            hint=f"{data_root() / 'manifest.json'} lists what does.",
        )
    return path
