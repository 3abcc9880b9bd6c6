"""How long ``import gemma_lab`` takes, in a fresh interpreter, less what an empty one takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

TARGET, ROUNDS = 0.3, 7


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def test_import_is_light(record):
    loads_torch = "import sys, gemma_lab; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    seconds(loads_torch)  # writes the byte code; fails if torch was imported
    pairs = [(seconds("import gemma_lab"), seconds("pass")) for _ in range(ROUNDS)]
    took = statistics.median(kit - empty for kit, empty in pairs)
    record(
        "import-time",
        took,
        f"< {TARGET}",
        "s",
        f"median of {ROUNDS} fresh interpreters, the interpreter's own start taken off",
    )
    assert took < TARGET
