"""``gemma-lab fine-tune``: train an adapter on a file of examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import short_repr
from ..errors import LabError

_MEDIA = ("images", "video", "audio")


def fine_tune_command(
    examples: Annotated[
        Path, typer.Argument(help='JSON Lines: {"prompt": …, "answer": …} or {"messages": […]} per line.')
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the adapter.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Alias, hub id, mini or folder.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="attention, mlp, experts, router, vision or audio; repeatable. [attention]"),
    ] = None,
    rank: Annotated[int, typer.Option(help="Rank of the adapter.")] = 8,
    alpha: Annotated[float | None, typer.Option(help="Scale, by default twice the rank.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Its maximum.")] = 2e-4,
    steps: Annotated[int | None, typer.Option(help="Number of updates.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Or minutes of training.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples per update.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the adapter and of the order of examples.")] = 0,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted run in the folder.")
    ] = False,
    per_expert: Annotated[
        bool, typer.Option("--per-expert", help="One module per expert, as servers take it.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Train a LoRA adapter, check that it changes the model, and save it; Ctrl-C saves the state."""
    from ..lab import load
    from ..models.fine_tuning.before_loading import require_memory_before_loading
    from ..models.fine_tuning.peft_library import peft
    from ..models.fine_tuning.settings import training_settings

    peft()
    rows = read_examples(examples)
    targets = tuple(target or ("attention",))
    options: dict[str, Any] = {
        "rank": rank, "alpha": alpha, "learning_rate": learning_rate, "steps": steps, "minutes": minutes,
        "batch_size": batch_size, "seed": seed, "gradient_checkpointing": gradient_checkpointing,
    }  # fmt: skip
    settings = training_settings(targets, examples=len(rows), **options)
    lengths = [len(json.dumps(row, ensure_ascii=False, default=str)) for row in rows]
    needed = require_memory_before_loading(model, settings, lengths)
    if needed.total:
        typer.echo(f"training takes about {needed}", err=True)
    lab = load(model, device=device, dtype=dtype, offline=offline or None)
    adapter = lab.fine_tune(
        rows, targets=targets, name=out.resolve().name, checkpoint=out, resume=resume, **options
    )
    adapter.save(out, layout="per expert" if per_expert else "packed")
    typer.echo(repr(adapter))
    check = adapter.check()
    typer.echo(repr(check))
    if not check.passed:
        raise LabError(
            "The adapter does not pass its check: " + " ".join(check.problems),
            hint="Raise the learning rate or the number of steps, or add examples that reach every target.",
        )


def read_examples(path: Path) -> list[Any]:
    """Return the examples of a JSON Lines file; paths of media in a row are relative to the file.

    Raises
    ------
    LabError
        If the file cannot be read, or a line is no JSON object; with its number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read: {error}", hint="Pass a JSON Lines file in UTF-8.") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabError(
                f"Line {number} of {path.name} is no JSON: {error}", hint="One JSON object per line."
            ) from error
        if not isinstance(row, dict):
            raise LabError(
                f"Line {number} of {path.name} is {short_repr(row)}.",
                hint='One JSON object per line: {"prompt": "What is XIV?", "answer": "14"}.',
            )
        rows.append({name: _beside(path, v) if name in _MEDIA else v for name, v in row.items()})
    if not rows:
        raise LabError(f"{path.name} has no examples.", hint="One JSON object per line.")
    return rows


def _beside(path: Path, source: Any) -> Any:
    """Return the paths of media, relative ones from the folder of the file."""
    if isinstance(source, list):
        return [_beside(path, each) for each in source]
    return path.parent / source if isinstance(source, str) and "://" not in source else source
