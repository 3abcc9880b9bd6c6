"""A saved page whose bytes are packed: they stand in it deflated, and are opened when they are read."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from .saved_page import write_page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_packed(
    path: str | Path, state: Mapping[str, Any], answers: Mapping[str, bytes], **content: Any
) -> Path:
    """Write a widget as one HTML file, see `gemma_lab.widgets.shared.saved_page.page`.

    Parameters
    ----------
    path
        Where to.
    state
        The traits; bytes among them are read when the page opens.
    answers
        What Python would answer, by the name of the question; read when it is asked.
    **content
        Title, twin, program and style of the page. The program opens parts with ``packed.js``.

    Raises
    ------
    LabError
        If the folder does not exist.
    """
    parts: list[bytes] = []

    def put(value: Any) -> Any:
        if isinstance(value, bytes | memoryview):
            parts.append(zlib.compress(value, 9))
            return {"part": len(parts) - 1}
        if isinstance(value, dict):
            return {key: put(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [put(each) for each in value]
        return value

    placed = put(dict(state))
    known = {name: put(buffer)["part"] for name, buffer in answers.items()}
    return write_page(path, {"state": placed, "answers": known}, parts=parts, **content)
