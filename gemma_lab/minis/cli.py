"""``gemma-lab minis``: train, evaluate and publish the mini models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import LabError

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and publish the mini models.")
_RUN = Path("runs/mini-moe")


@app.command()
def train(
    minutes: Annotated[
        float, typer.Option(help="Budget of computing time, in minutes, over all sittings.")
    ] = 90,
    run: Annotated[Path, typer.Option(help="Folder of the run; a run that is there is resumed.")] = _RUN,
    skills: Annotated[
        str, typer.Option(help="What to train, comma-separated.")
    ] = "digits,names,numbers,recall",
    seed: int = 0,
) -> None:
    """Train mini-moe, or go on with it."""
    from .training import Trainer

    Trainer(run, minutes=minutes, seed=seed, skills=tuple(skills.split(","))).train()


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoint goes.")] = Path("data/minis/mini-moe"),
    run: Annotated[Path, typer.Option(help="Folder of the run.")] = _RUN,
) -> None:
    """Write the trained checkpoint, ask it the held-out questions and write its card."""
    from .training import Trainer

    if not (run / "state.pt").exists():
        raise LabError(f"There is no training run in {run}.", hint="gemma-lab minis train makes one.")
    trainer = Trainer(run, minutes=1, skills=())
    trainer.publish(folder)
    minutes = round(trainer.spent / 60, 1)
    trained = sorted(trainer.trained)
    _card(folder, {"steps": trainer.step, "minutes": minutes, "seed": trainer.seed, "skills": trained})


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A published mini.")] = Path("data/minis/mini-moe"),
) -> None:
    """Ask a published mini the held-out questions and rewrite its card."""
    _card(folder, json.loads((folder / "card.json").read_text())["training"])


def _card(folder: Path, training: dict[str, object]) -> None:
    from ..checkup.run import checkup
    from ..models.load import load
    from .evaluation import write_card

    found = checkup(load(folder), full=True)
    write_card(folder, found, training=training)
    typer.echo(str(found))


@app.command()
def questions(
    path: Annotated[Path, typer.Argument(help="Where they go.")] = Path("data/checkup/questions.parquet"),
    each: Annotated[int, typer.Option(help="Questions a skill.")] = 200,
) -> None:
    """Draw the check-up's held-out questions, the same ones every time."""
    from ..checkup.questions import write
    from .evaluation import held_out_questions

    write(held_out_questions(each=each), path)


@app.command()
def pictures(
    folder: Annotated[Path, typer.Argument(help="Where they go.")] = Path("data/media/digits"),
) -> None:
    """Draw one held-out digit of each kind as a sample picture, the same ones every time."""
    from .tasks import digits

    folder.mkdir(parents=True, exist_ok=True)
    for digit, picture in digits.samples().items():
        picture.save(folder / f"{digit}.png")
