"""``gemma-lab versus``: compare two models, or one model before and after a change."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadEdit, LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..evals.versus.comparison import Versus

_WHAT = "Alias, hub id, mini, folder, or the address of a server (http://…)."


def versus_command(
    first: Annotated[str, typer.Argument(help=_WHAT)],
    second: Annotated[str | None, typer.Argument(help=f"{_WHAT} [FIRST again]")] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option("-p", "--prompt", help="A prompt; repeatable. [questions of the check-up]"),
    ] = None,
    checkup: Annotated[
        bool, typer.Option("--checkup", help="Compare check-ups: 20 questions a skill.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="The full check-up: 200 questions a skill.")] = False,
    skill: Annotated[
        list[str] | None, typer.Option(help="Only this skill of the check-up; repeatable.")
    ] = None,
    edit: Annotated[Path | None, typer.Option(help="File of an edit, which Edit.save wrote.")] = None,
    quantization: Annotated[
        str | None,
        typer.Option("-q", "--quantization", help="How the second is packed, e.g. int8, int4, nf4."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter of the second.")] = None,
    drafter: Annotated[
        str | None, typer.Option(help='Drafter of the second: "auto", a name, a folder.')
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 32,
    attention_rows: Annotated[int, typer.Option(help="Queries a prompt whose attention is compared.")] = 8,
    rounds: Annotated[int, typer.Option(help="Rounds in which the speed is measured.")] = 3,
    in_turn: Annotated[
        bool, typer.Option("--in-turn", help="Load one model after the other, never both at once.")
    ] = False,
    worst: Annotated[int, typer.Option(help="How many of the most different tokens to list.")] = 0,
    figure: Annotated[Path | None, typer.Option(help="Write the figure to this PNG file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the tables to this HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, one row a measure.")] = False,
    token: Annotated[str | None, typer.Option(envvar="GEMMA_LAB_TOKEN", help="Token of a server.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Compare two models: answers, check-up, divergence, routing, attention, memory and speed.

    A change of one model is compared with --quantization, --adapter, --drafter or --edit, which apply to the
    second.
    """
    from ..evals.versus.run import versus

    if as_json and as_csv:
        raise LabError("--json and --csv exclude each other.", hint="Pass one of them.")
    changes = {"quantization": quantization, "adapter": adapter, "drafter": drafter}
    options = {"device": device, "dtype": dtype, "offline": offline or None}
    given = {name: value for name, value in changes.items() if value is not None}
    one = _source(first, options, {}, token)
    if edit is not None:
        two: Any = _edit(edit, second, first, given, in_turn=in_turn)
    elif second is None and not given:
        raise LabError("There is nothing to compare with.", hint="Name a second model, or pass e.g. -q int8.")
    else:
        two = _source(second or first, options, given, token)
    if not in_turn:
        alone = _alone(given, same=second in (None, first))
        two = two() if edit is None else two
        one = one() if alone is None else alone(two)
    found = versus(
        one,
        two,
        prompt or None,
        checkup=skill or ("full" if full else checkup),
        max_new_tokens=max_new_tokens,
        attention_rows=attention_rows,
        rounds=rounds,
        names=_names(first, second or first, given, edit),
    )
    if figure is not None:
        found.figure().save(figure)
    if html is not None:
        _write_page(found, html)
    typer.echo(_shown(found, as_json=as_json, as_csv=as_csv, worst=worst))


def _alone(changes: dict[str, Any], *, same: bool) -> Callable[[Any], Any] | None:
    """Return what takes the only change from a loaded model, so that it is loaded once; None if none does."""
    from ..evals.versus.sides import without_adapter, without_drafter

    known = {"adapter": without_adapter, "drafter": without_drafter}
    return known.get(next(iter(changes))) if same and len(changes) == 1 else None


def _source(
    name: str, options: dict[str, Any], changes: dict[str, Any], token: str | None
) -> Callable[[], Any]:
    """Return a function that loads a model or connects to a server."""
    from ..lab import load
    from ..remote_lab import connect

    if not name.startswith(("http://", "https://")):
        return partial(load, name, **options, **changes)
    if changes:
        raise LabError(
            f"{name} is a server: {' and '.join(changes)} cannot be changed from here.",
            hint="Start the server with it.",
        )
    return partial(connect, name, token=token)


def _edit(path: Path, second: str | None, first: str, changes: dict[str, Any], *, in_turn: bool) -> Any:
    """Return the edit of a file, which is one of the first model."""
    from ..trace.interventions.edit import Edit

    if changes or (second is not None and second != first) or in_turn:
        raise BadEdit(
            "--edit compares the first model with itself under an edit, in memory once.",
            hint="Leave the second model, other changes and --in-turn out.",
        )
    return Edit.open(path)


def _names(first: str, second: str, changes: dict[str, Any], edit: Path | None) -> tuple[str, str] | None:
    """Return titles that say what was changed; None if the models' own names do."""
    if not changes and edit is None:
        return None
    words = [f"{name} {Path(str(value)).name}" for name, value in changes.items()]
    words += [] if edit is None else [f"edit {edit.name}"]
    return first, ", ".join([second, *words])


def _write_page(found: Versus, path: Path) -> None:
    from ..views.versus.html import versus_html

    head = '<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    path.write_text(f"{head}\n{versus_html(found)}\n", encoding="utf-8")


def _shown(found: Versus, *, as_json: bool, as_csv: bool, worst: int) -> str:
    if as_json:
        return json.dumps(found.to_dict(), indent=2, ensure_ascii=False)
    if as_csv:
        return str(found.to_pandas().to_csv(index=False)).rstrip("\n")
    text = str(found)
    if worst and found.tokens is not None:
        text += f"\n\nmost different tokens\n{found.worst(worst)!s}"
    return text
