"""``python -m tools.bench``: run a checkout's benchmarks and write their table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from gemma_lab.errors import LabError

from ..notebooks.checkout import checkout
from .ledger import keep, write_page

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
def run(
    paths: Annotated[list[Path] | None, typer.Argument(help="Tests; all benchmarks without it.")] = None,
) -> None:
    """Run benchmarks, keep their results beside earlier ones, and write ``docs/benchmarks.md``."""
    folder = checkout().folder
    results = folder / "build" / "bench.jsonl"
    results.parent.mkdir(exist_ok=True)
    results.unlink(missing_ok=True)
    asked = [str(path) for path in paths or [folder / "tests" / "benchmarks"]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-s", *asked],
        cwd=folder, env=os.environ | {"GEMMA_LAB_BENCH": str(results)}, check=False,
    )  # fmt: skip
    keep(results, folder)
    raise typer.Exit(done.returncode)


@app.command()
def table() -> None:
    """Write ``docs/benchmarks.md`` again from the kept results."""
    typer.echo(f"wrote {write_page(checkout().folder)}")


if __name__ == "__main__":
    try:
        app()
    except LabError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None
