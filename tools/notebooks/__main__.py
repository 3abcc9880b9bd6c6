"""``python -m tools.notebooks``: execute, link and export the notebooks of a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemma_lab.errors import LabError

from . import form
from .checkout import checkout
from .execute import execute
from .links import write_links
from .readme import write_readme
from .tour import page

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
_Paths = Annotated[list[Path] | None, typer.Argument(help="Notebooks; all of the checkout's without it.")]


@app.command()
def run(paths: _Paths = None) -> None:
    """Execute notebooks in static mode and write them back in the committed form."""
    for path in paths or checkout().notebooks:
        done = execute(path)
        path.write_text(form.dumps(done.notebook), encoding="utf-8")
        typer.echo(f"{path.name}: {done!r}")


@app.command()
def tour(
    paths: _Paths = None, out: Annotated[Path, typer.Option(help="Where to.")] = Path("build/tour")
) -> None:
    """Execute notebooks with live widgets and write one self-contained HTML page each."""
    out.mkdir(parents=True, exist_ok=True)
    for path in paths or checkout().notebooks:
        done = execute(path, static=False)
        target = out / f"{path.stem}.html"
        target.write_text(page(done.notebook, title=path.stem), encoding="utf-8")
        typer.echo(f"{target}: {done!r}")


@app.command()
def links() -> None:
    """Write the badges, the install cells and the README's generated tables."""
    project = checkout()
    for path in [*write_links(project), *write_readme(project)]:
        typer.echo(f"wrote {path.relative_to(project.folder)}")


if __name__ == "__main__":
    try:
        app()
    except LabError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from None
