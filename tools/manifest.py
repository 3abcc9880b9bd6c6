"""``data/manifest.json``: what ships with the project, with its checksum, licence and source.

Run ``python -m tools.manifest`` after a file under ``data/`` changed. People state licence and source in
``data/sources.toml``, by folder or file; a file that no entry covers is refused.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from gemma_lab.errors import LabError

MANIFEST = "manifest.json"
SOURCES = "sources.toml"


def manifest(data: Path) -> dict[str, list[dict[str, str]]]:
    """Describe every file under `data`, in order of its path.

    Parameters
    ----------
    data
        The ``data/`` folder of a checkout.

    Returns
    -------
    dict
        ``{"files": [{"path", "sha256", "licence", "source"}, …]}``, paths relative to `data`.

    Raises
    ------
    LabError
        If a file has no licence and source in ``sources.toml``.
    """
    stated = tomllib.loads((data / SOURCES).read_text(encoding="utf-8"))["files"]
    files = []
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        hidden = any(part.startswith(".") for part in path.relative_to(data).parts)
        if not path.is_file() or hidden or name in (MANIFEST, SOURCES):
            continue
        entry = next((entry for entry in stated if fnmatch(name, entry["match"])), None)
        if entry is None:
            raise LabError(
                f"data/{name} has no licence and source.",
                hint=f"Add an entry whose `match` covers it to data/{SOURCES}.",
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        files.append({"path": name, "sha256": digest, "licence": entry["licence"], "source": entry["source"]})
    return {"files": files}


def dumps(content: dict[str, list[dict[str, str]]]) -> str:
    """Return the text of the manifest's file."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def write_manifest(data: Path) -> Path:
    """Write the manifest of `data` and return its path."""
    target = data / MANIFEST
    target.write_text(dumps(manifest(data)), encoding="utf-8")
    return target


if __name__ == "__main__":
    top = Path(__file__).resolve().parents[1] / "data"
    try:
        sys.stdout.write(f"wrote {write_manifest(top)}\n")
    except LabError as error:
        sys.exit(str(error))
