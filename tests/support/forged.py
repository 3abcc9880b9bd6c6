"""Trace files that were tampered with by somebody who sets the checksums right again."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma_lab.errors import BadTrace
from gemma_lab.trace.trace import open_trace

Members = dict[str, bytes]


def members(path: Path) -> Members:
    """Return the members of a trace file, the manifest included."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(contents: Members) -> Members:
    """Return the members with a manifest that has their sizes and checksums."""
    manifest = json.loads(contents["manifest.json"])
    manifest["members"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in contents.items()
        if name != "manifest.json"
    }
    return {**contents, "manifest.json": json.dumps(manifest).encode()}


def zipped(contents: Members, *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return the members as a ZIP."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return made.getvalue()


def forge(path: Path, change: Callable[[Members], None], *, seal: bool = True, **options: Any) -> Path:
    """Change the members of a trace file in place; `seal` sets the checksums right afterwards."""
    contents = members(path)
    change(contents)
    path.write_bytes(zipped(sealed(contents) if seal else contents, **options))
    return path


def restate(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the manifest of a trace file in place."""

    def rewrite(contents: Members) -> None:
        manifest = json.loads(contents["manifest.json"])
        change(manifest)
        contents["manifest.json"] = json.dumps(manifest).encode()

    return forge(path, rewrite, seal=False)


def refused(path: Path, said: str) -> None:
    """Opening the file must say what is wrong with it, which file it is, and what to do."""
    with pytest.raises(BadTrace, match=said) as caught:
        open_trace(path)
    assert caught.value.what.startswith(str(path))
    assert caught.value.hint
