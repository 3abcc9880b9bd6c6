"""The matrix of versions: unit tests and notebooks in environments of their own. `make matrix` runs it.

    make matrix                                    every Python that is installed, every set of versions
    make matrix NOX_ARGS='-s "unit-3.13(colab)"'   one of them
    make matrix NOX_ARGS=-l                        list them

Each run is a row of docs/matrix.jsonl; `python -m tools.matrix` writes the table of docs/matrix.md. A Python
that is not installed is named and left out.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
VERSIONS = ("colab", "newest")
ROOT = Path(__file__).parent
UNIT = ("tests", "--ignore=tests/browser", "--ignore=tests/benchmarks")
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.envdir = "build/matrix"


def _install(session: nox.Session, extras: str, versions: str) -> None:
    """Install the package with extras under constraints; PIP_ARGS adds options, as in the Makefile."""
    constraints = ROOT / "tests" / "matrix" / f"{versions}.txt"
    options = os.environ.get("PIP_ARGS", "").split()
    session.install(*options, "-c", str(constraints), "-e", f".[{extras}]")


def _record(session: nox.Session, what: str, versions: str, *arguments: str) -> None:
    """Run pytest and record its counts, whether it passes or not."""
    report = Path(session.create_tmp()).resolve() / f"{what}.xml"
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    try:
        session.run(
            "python", "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments,
            *session.posargs, env=environment,
        )  # fmt: skip
    finally:
        if report.exists():
            session.run("python", "-m", "tools.matrix", "record", what, versions, str(report))


@nox.session(python=PYTHONS)
@nox.parametrize("versions", VERSIONS, ids=VERSIONS)
def unit(session: nox.Session, versions: str) -> None:
    """Unit tests."""
    _install(session, "dev", versions)
    _record(session, "unit", versions, "-n", "auto", "--dist", "worksteal", *UNIT)


@nox.session(python=PYTHONS)
@nox.parametrize("versions", VERSIONS, ids=VERSIONS)
def notebooks(session: nox.Session, versions: str) -> None:
    """Every notebook: run, and with the newest versions also compared with its committed outputs."""
    _install(session, "dev", versions)
    compared = "--nbval" if versions == "newest" else "--nbval-lax"
    _record(
        session, "notebooks", versions, "-p", "no:python", compared, "--nbval-current-env",
        "--nbval-cell-timeout", "1800", "--nbval-sanitize-with", "notebooks/sanitize.cfg", "notebooks",
    )  # fmt: skip


@nox.session(python=PYTHONS)
def view(session: nox.Session) -> None:
    """Traces and the planner in an install without torch and transformers."""
    _install(session, "view", "newest")
    session.install("pytest")
    session.run("python", "tests/support/view_install.py", env={"PYTHONPATH": ""})
