"""The checkout that the commands work on: its folders, its public address, its notebooks."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from gemma_lab import __version__
from gemma_lab.errors import LabError

_GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")


@dataclass(frozen=True)
class Checkout:
    """A clone of the repository, and where the world finds it.

    Attributes
    ----------
    folder
        Its top.
    repository
        The public address, from ``[project.urls]`` in ``pyproject.toml``: the one place that states it.
    """

    folder: Path
    repository: str

    @property
    def slug(self) -> str:
        """``owner/name`` on GitHub, as Colab and Binder want it."""
        return "{owner}/{name}".format(**self._match().groupdict())

    @property
    def tag(self) -> str:
        """The release that badges and install cells point at: it never moves, so Binder keeps its image."""
        return f"v{__version__}"

    @property
    def notebooks(self) -> tuple[Path, ...]:
        """The committed notebooks, in reading order."""
        return tuple(sorted((self.folder / "notebooks").glob("*.ipynb")))

    def _match(self) -> re.Match[str]:
        match = _GITHUB.fullmatch(self.repository)
        if match is None:
            raise LabError(
                f"Colab and Binder open GitHub repositories; {self.repository!r} is not the address of one.",
                hint="Set Repository in [project.urls] of pyproject.toml to https://github.com/OWNER/NAME.",
            )
        return match


def checkout(folder: Path | None = None) -> Checkout:
    """Return the checkout that holds this package, or the one at `folder`.

    Raises
    ------
    LabError
        If there is no ``pyproject.toml`` with a repository address, as in an installed wheel.
    """
    top = folder or Path(__file__).resolve().parents[2]
    settings = top / "pyproject.toml"
    if not settings.is_file():
        raise LabError(
            f"{top} is not a checkout of gemma_lab: it has no pyproject.toml.",
            hint="Clone the repository and run `make install`; the notebook commands work on its files.",
        )
    urls = tomllib.loads(settings.read_text(encoding="utf-8")).get("project", {}).get("urls", {})
    if "Repository" not in urls:
        raise LabError(
            f"{settings} has no Repository in [project.urls].", hint="Add the public address there."
        )
    return Checkout(folder=top, repository=urls["Repository"])
