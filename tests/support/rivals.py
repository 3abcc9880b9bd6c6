"""The tools that this one is measured against, run in an environment of their own.

``make rivals`` installs them into ``build/rivals``; ``GEMMA_LAB_RIVALS`` names another place. A benchmark
asks `missing` first and says what is not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("rivals_worker.py")
PACKAGES = {
    "TransformerLens": "transformer_lens", "nnterp": "nnterp",
    "BertViz": "bertviz", "CircuitsVis": "circuitsvis", "Inspectus": "inspectus", "xgrammar": "xgrammar",
}  # fmt: skip
SECONDS = 300


class DidNotFinish(RuntimeError):
    """A rival that failed or took more than its time; the message says which."""


def python() -> Path:
    """Return the interpreter of the rivals' environment, there or not."""
    place = Path(os.environ.get("GEMMA_LAB_RIVALS") or ROOT / "build" / "rivals")
    return place.absolute() / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


@cache
def missing(name: str) -> str:
    """Return why a rival cannot be measured here, and what to do; "" if it can."""
    if not python().exists():
        return f"{name} is not installed: `make rivals`, or set GEMMA_LAB_RIVALS to an environment with it"
    package = PACKAGES.get(name, "transformers")
    found = subprocess.run([python(), "-c", f"import {package}"], capture_output=True, text=True, check=False)
    return (
        f"{name} does not import: {found.stderr.strip().rpartition(chr(10))[2]}" if found.returncode else ""
    )


def run(
    *arguments: Any, here: bool = False, seconds: float = SECONDS, worker: str = WORKER.name
) -> dict[str, Any]:
    """Run the worker once in a fresh process, and return what it measured.

    Parameters
    ----------
    arguments
        Of the worker.
    worker
        File name of the worker, beside this module.
    here
        In the environment of the tests instead of the rivals'.

    Raises
    ------
    DidNotFinish
        If it failed, with the last line it wrote, or took longer than `seconds`.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable if here else python(), WORKER.with_name(worker), *map(str, arguments)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise DidNotFinish(f"did not finish in {seconds:.0f} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise DidNotFinish(last or f"ended with code {done.returncode}")
    return json.loads(done.stdout.strip().rpartition("\n")[2])


def page(name: str, arrays: Path, out: Path, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Let BertViz, CircuitsVis or Inspectus write the page of an attention, and return its bytes and seconds.

    Parameters
    ----------
    name
        ``"BertViz"``, ``"CircuitsVis"`` or ``"Inspectus"``.
    arrays
        An ``.npz`` of ``attention`` float [layers, heads, tokens, tokens] and ``tokens`` str [tokens].
    out
        The HTML page to write.
    """
    return run("page", name, arrays, out, seconds=seconds)
