"""Folder of a survey: its manifest, and which partitions are left to trace."""

from __future__ import annotations

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from .._version import __version__
from ..checks import as_path
from ..errors import LabError
from ..files import make_folder
from .model_state import MODEL
from .partition import partition_path
from .survey import MANIFEST, open_survey


def as_folder(out: Any) -> Path:
    """Return the folder of a survey; raise `LabError` if it is no path, or a file."""
    folder = as_path("out", out, example="Pass a path, out='my-survey'; the folder is made.")
    if folder.exists() and not folder.is_dir():
        raise LabError(f"{folder} is a file.", hint="Pass another path for out=; the folder is made.")
    return folder


def claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of a new survey, or check that an existing one has the same settings.

    One that has no partition yet is a new one: a wrong option is corrected by the next call.
    """
    make_folder("out", folder, example="gl.survey(prompts, model, out='my-survey')")
    path = folder / MANIFEST
    if not any(folder.glob("part-*")):
        (folder / MODEL).unlink(missing_ok=True)
    if path.is_file() and any(folder.glob("part-*")):
        known = open_survey(folder).manifest
        differing = sorted(key for key, value in manifest.items() if known.get(key) != value)
        if differing:
            listed = ", ".join(f"{key} {known.get(key)!r:.60}" for key in differing)
            raise LabError(
                f"{folder} holds another survey: {listed}.",
                hint="Choose another folder for out=, or repeat the call that began it.",
            )
        return
    if any(folder.glob("part-*")):
        raise LabError(f"{folder} has partitions and no manifest.", hint="Choose another folder for out=.")
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(
        json.dumps(manifest | {"gemma_lab": __version__, "python": platform.python_version()}, indent=1)
        + "\n",
        encoding="utf-8",
    )
    draft.replace(path)


def partitions_left(folder: Path, *, prompts: int, size: int) -> list[int]:
    """Return the partitions that are not complete; remove the drafts of a run that was killed.

    Parameters
    ----------
    folder
        Folder of the survey.
    prompts
        Prompts of the survey.
    size
        Prompts per partition.
    """
    for draft in folder.glob(".draft-*"):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
    return [number for number in range(-(-prompts // size)) if not partition_path(folder, number).is_dir()]
