"""Fixtures for every test: tiny checkpoints of the five shapes, a clean environment, no network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from packaging.version import Version
from support import shapes

_SETTINGS = ("GEMMA_LAB_MODEL", "GEMMA_LAB_OFFLINE", "GEMMA_LAB_STATIC", "HF_HUB_OFFLINE", "HF_TOKEN")


# A machine may be busy with something else: no example has a time limit.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

#: Fixtures that load a model, and folders whose tests train, build, start processes or draw many figures.
SLOW_FIXTURES = {"tiny_lab", "tiny_folder", "mini", "drafted_mini"}
SLOW_FOLDERS = (
    "browser", "benchmarks", "cli/server", "evals", "minis", "models/drafting", "models/fine_tuning",
    "models/grammar", "models/loading", "models/remote", "models/tool_use", "surveys", "tools",
    "trace/interventions", "trace/lenses", "trace/probes", "trace/run", "views",
)  # fmt: skip


#: Folders, and fixtures, whose subject needs a release of transformers newer than the package's floor.
NEWER = {"models/drafting": "5.20", "drafted_mini": "5.20"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what loads a model or takes long as slow, for ``make quick``; skip what an old release lacks."""
    here = Path(__file__).parent
    installed = Version(version("transformers"))
    for item in items:
        folder = item.path.parent.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""
        loads = SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
        if loads or any(folder == one or folder.startswith(f"{one}/") for one in SLOW_FOLDERS):
            item.add_marker(pytest.mark.slow)
        for name in NEWER.keys() & {folder, *getattr(item, "fixturenames", ())}:
            if installed < Version(NEWER[name]):
                reason = f"needs transformers {NEWER[name]}; {installed} is installed"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the defaults, whatever the shell that runs them has set."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting to another machine fails at once; this machine's own servers stay reachable."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
            msg = f"tests do not use the network: {host}"
            raise OSError(msg)
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a size to the folder of its tiny checkpoint; do not write there."""

    @cache
    def folder(size: str) -> Path:
        return shapes.tiny_checkpoint(size, tmp_path_factory.mktemp("tiny") / f"tiny-{size}")

    return folder


@pytest.fixture(scope="session")
def tiny_lab(tiny_folder: Callable[[str], Path]) -> Callable[[str], Any]:
    """Return a function from a size to a `Lab` of its tiny checkpoint, shared by the tests of a session."""
    import gemma_lab

    @cache
    def lab(size: str) -> Any:
        return gemma_lab.load(tiny_folder(size), device="cpu", dtype="float32")

    return lab
