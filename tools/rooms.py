"""``python -m tools.rooms``: draw the map of the rooms from the import contracts, as docs/rooms.svg."""

from __future__ import annotations

import ast
import configparser
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from markupsafe import escape

#: The way of a prompt through the rooms, ``module:name`` to what happens there; each must exist.
WAY = (
    ("gemma_lab.lab:Lab", "lab.trace(prompt, images=…)"),
    ("gemma_lab.models.chat.request:Request", "the request becomes a value"),
    ("gemma_lab.models.media:load_image", "media are opened and checked"),
    ("gemma_lab.models.chat.prompt:Prompt", "template, ids, soft tokens"),
    ("gemma_lab.trace.probes.recorder:Recorder", "probes are attached"),
    ("gemma_lab.models.chat.generation:Generation", "prefill in chunks, then decoding"),
    ("gemma_lab.trace.records.routing:Routing", "what was recorded, as arrays"),
    ("gemma_lab.trace.trace:Trace", "all records of the run"),
    ("gemma_lab.analysis.comparison:compare", "numbers from records"),
    ("gemma_lab.views.trace.trace:trace_html", "a picture of the numbers"),
    ("gemma_lab.widgets.explorer.widget:Explorer", "a live view"),
)
_HUES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#6E6E6E")
_ROW, _LEFT, _WIDTH = 30, 16, 1180
_HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13"
  role="img" aria-labelledby="title">
<title id="title">The rooms of gemma_lab, top first; each imports only from rooms below it</title>
<style>
.bg{{fill:#fff}}.t{{fill:#1b1b1b}}.m{{fill:#555}}.r{{fill:#f2f4f7}}.w{{fill:#8a3b00}}
@media (prefers-color-scheme: dark){{
.bg{{fill:#15181c}}.t{{fill:#f0f0f0}}.m{{fill:#b5bac2}}.r{{fill:#23282f}}.w{{fill:#ffb37a}}}}
</style>
<rect class="bg" width="{width}" height="{height}"/>
<text class="t" x="{left}" y="28" font-size="17" font-weight="bold">Rooms: imports go downwards only</text>
<text class="w" x="{right}" y="28" text-anchor="end" font-weight="bold">the way of a prompt</text>
"""
_ROOM = """\
<rect class="r" x="{left}" y="{y}" width="{width}" height="25" rx="4"/>
<rect x="{left}" y="{y}" width="5" height="25" rx="2" fill="{hue}"/>
<text class="t" x="30" y="{text}" font-weight="bold">{name}</text>
<text class="m" x="180" y="{text}" font-size="12">{summary}</text>
<text class="w" x="{right}" y="{text}" font-size="12" text-anchor="end">{way}</text>
"""


@dataclass(frozen=True)
class Room:
    """A layer of the contract: its name without the package, and the first line of its docstring."""

    name: str
    summary: str


def rooms(top: Path) -> list[Room]:
    """Return the layers of the contract, top first."""
    contracts = configparser.ConfigParser()
    contracts.read(top / ".importlinter", encoding="utf-8")
    layers = contracts["importlinter:contract:rooms"]["layers"].split()
    return [Room(layer.removeprefix("gemma_lab."), _summary(top, layer)) for layer in layers]


def _summary(top: Path, module: str) -> str:
    path = top.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    lines = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()
    return lines[0] if lines else ""


def svg(layers: list[Room]) -> str:
    """Return the map: one line per room, top first, and the numbered way of a prompt beside it."""
    steps: dict[str, list[str]] = {}
    for number, (target, what) in enumerate(WAY, 1):
        module, name = target.split(":")
        getattr(importlib.import_module(module), name)
        inside = max((each.name for each in layers if module.startswith(f"gemma_lab.{each.name}")), key=len)
        steps.setdefault(inside, []).append(f"{number}. {what}")
    groups = list(dict.fromkeys(room.name.split(".")[0] for room in layers))
    height = 62 + _ROW * len(layers)
    parts = [_HEAD.format(width=_WIDTH, height=height, right=_WIDTH - 16, left=_LEFT)]
    for index, room in enumerate(layers):
        parts.append(
            _ROOM.format(
                left=_LEFT,
                width=_WIDTH - 2 * _LEFT,
                y=46 + _ROW * index,
                text=63 + _ROW * index,
                hue=_HUES[groups.index(room.name.split(".")[0]) % len(_HUES)],
                name=escape(room.name),
                summary=escape(room.summary),
                right=_WIDTH - 24,
                way=escape("  ".join(steps.get(room.name, ()))),
            )
        )
    return "".join([*parts, "</svg>\n"])


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Fail if the committed map is not this one.")
    ] = False,
) -> None:
    """Write docs/rooms.svg, or check that it is up to date."""
    top = Path(__file__).resolve().parents[1]
    target, drawn = top / "docs" / "rooms.svg", svg(rooms(top))
    if not check:
        target.write_text(drawn, encoding="utf-8")
    elif not target.is_file() or target.read_text(encoding="utf-8") != drawn:
        typer.echo("docs/rooms.svg does not show the contracts in .importlinter: run `make map`.", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
