"""``python -m tools.docs``: build the site under build/docs, without a network to build or read it."""

from __future__ import annotations

import importlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import typer

from .notebooks import form
from .notebooks.checkout import checkout

#: Namespace → title of its page, which has an entry for every public name.
NAMESPACES = {
    "gemma_lab": "Main names",
    "gemma_lab.analysis": "gl.analysis: numbers from traces",
    "gemma_lab.plots": "gl.plots: figures",
    "gemma_lab.evals": "gl.evals: check-up, needles, ablations",
    "gemma_lab.family": "gl.family: the models",
    "gemma_lab.planning": "gl.planning: hardware, prices, measured runs",
}
#: What a page would load over the network: the value of src or of a stylesheet's href.
_REMOTE = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"'](https?://[^\"']+)", re.IGNORECASE
)
_HARMLESS_LINKS = ('rel="canonical"', 'rel="search"', 'rel="license"')


def reference(namespace: str, title: str, described: dict[int, str]) -> str:
    """Return the reference page of a namespace as reStructuredText: every public name, in order.

    Parameters
    ----------
    namespace, title
        Its dotted name and its heading.
    described
        Identity of what other pages describe, to its full name; gets what this page describes.
    """
    module = importlib.import_module(namespace)
    lines = [title, "=" * len(title), "", f".. currentmodule:: {namespace}", ""]
    doc = inspect.getdoc(module)
    if doc:
        lines += [*doc.splitlines(), ""]
    for name in sorted(set(module.__all__) - {"__version__"}, key=str.lower):
        value = getattr(module, name)
        if inspect.ismodule(value):
            continue  # a namespace has a separate page
        if id(value) in described:
            lines += [f".. rubric:: {name}", "", f"Described as `{described[id(value)]}`.", ""]
            continue
        described[id(value)] = f"{namespace}.{name}"
        if inspect.isclass(value):
            inherited = "   :inherited-members: dict, Exception, TypedDict"
            lines += [f".. autoclass:: {name}", "   :members:", inherited, ""]
        elif callable(value):
            lines += [f".. autofunction:: {name}", ""]
        else:
            shown = repr(value) if len(repr(value)) < 300 else f"{repr(value)[:297]}…"
            lines += [f".. py:data:: {name}", "", f"   {type(value).__name__}:", "", "   ::", ""]
            lines += [f"      {shown}", ""]
    return "\n".join(lines) + "\n"


def prepare(top: Path, source: Path) -> None:
    """Collect the pages: docs/, the notebooks as committed, CHANGELOG, and the generated reference."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(top / "docs", source)
    for page in source.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("](../notebooks/", "](notebooks/"), encoding="utf-8")
    (source / "notebooks").mkdir()
    for path in checkout(top).notebooks:
        notebook = form.read(path)
        notebook.cells = [cell for cell in notebook.cells if cell.id != "badges"]  # pictures from elsewhere
        text = form.dumps(notebook).replace("](../docs/", "](../")
        (source / "notebooks" / path.name).write_text(text, encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (top / name).read_text(encoding="utf-8")
        (source / name.lower()).write_text(text.replace("](docs/", "]("), encoding="utf-8")
    (source / "reference").mkdir()
    described: dict[int, str] = {}
    for namespace, title in NAMESPACES.items():
        target = source / "reference" / f"{namespace.rpartition('.')[2]}.rst"
        target.write_text(reference(namespace, title, described), encoding="utf-8")
    tour = top / "build" / "tour"
    if tour.is_dir():
        shutil.copytree(tour, source / "_extra" / "tour")
    else:
        (source / "_extra").mkdir()


def missing(site: Path) -> list[str]:
    """Return the public names without an entry in the built reference."""
    found = []
    for namespace in NAMESPACES:
        module = importlib.import_module(namespace)
        html = (site / "reference" / f"{namespace.rpartition('.')[2]}.html").read_text(encoding="utf-8")
        for name in module.__all__:
            value = getattr(module, name)
            if name == "__version__" or inspect.ismodule(value):
                continue
            home = getattr(value, "__module__", namespace)
            marks = (f'id="{namespace}.{name}"', f'id="{home}.{name}"', f">{name}</p>")
            if not any(mark in html for mark in marks):
                found.append(f"{namespace}.{name}")
    return found


def remote(site: Path) -> list[str]:
    """Return what pages of the site would load over the network."""
    found = []
    for page in site.rglob("*.html"):
        if "tour" in page.relative_to(site).parts:
            continue  # exported pages forbid all loading themselves
        found += [
            f"{page.relative_to(site)}: {match.group(1)}"
            for match in _REMOTE.finditer(page.read_text(encoding="utf-8"))
            if not any(kind in match.group(0) for kind in _HARMLESS_LINKS)
        ]
    return found


def main() -> None:
    """Build the site; warnings, missing reference entries and remote resources are errors."""
    top = checkout().folder
    source, site = top / "build" / "docs-source", top / "build" / "docs"
    prepare(top, source)
    shutil.rmtree(site, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(source), str(site)],
        check=False,
    )
    problems = [] if done.returncode else [f"no entry: {name}" for name in missing(site)]
    problems += [] if done.returncode else [f"loaded over the network: {what}" for what in remote(site)]
    for problem in problems:
        typer.echo(problem, err=True)
    if done.returncode or problems:
        raise typer.Exit(1)
    count = len(list(site.rglob("*.html")))
    typer.echo(f"docs: {count} pages in {site.relative_to(top)}, every public name has an entry")


if __name__ == "__main__":
    typer.run(main)
