"""``gemma-lab minis``: train, evaluate and publish the mini models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LabError
from .architecture import SHAPES
from .drafter_architecture import BASES
from .model_card import IMAGE_SKILLS
from .training_log import write_log

if TYPE_CHECKING:
    from .training import Trainer
    from .workers import Workers

app = typer.Typer(no_args_is_help=True, help="Train, evaluate and publish the mini models.")
_RUNS = Path("runs")
_MINIS = Path("data/minis")
Mini = Annotated[str, typer.Argument(help="mini-moe, mini-edge or mini-unified.")]
MiniOrDrafter = Annotated[
    str, typer.Argument(help="mini-moe, mini-edge, mini-unified or mini-moe-assistant.")
]
Run = Annotated[
    Path | None, typer.Option(help="Folder of the run; default runs/NAME. An existing run is resumed.")
]


@app.command()
def train(
    name: MiniOrDrafter = "mini-moe",
    minutes: Annotated[
        float,
        typer.Option(
            help="Budget of processor time per thread of each worker, in minutes, over all sessions."
        ),
    ] = 180,
    run: Run = None,
    skills: Annotated[str, typer.Option(help="Skills to train, comma-separated; default all.")] = "",
    start: Annotated[
        Path | None,
        typer.Option(
            help="A published mini to start from; of another name, only its vision encoder and vocabulary, "
            "and for mini-unified mini-moe's attention and what it can teach."
        ),
    ] = None,
    keep_words: Annotated[bool, typer.Option(help="Keep that mini's vocabulary.")] = False,
    focus: Annotated[
        str,
        typer.Option(help="Skills, comma-separated, that get a third of all rows; the others are rehearsed."),
    ] = "",
    rate: Annotated[
        float | None,
        typer.Option(
            help="Peak learning rate as a share of a new mini's; default 1, from an earlier one 0.5."
        ),
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Quantisation-aware training: weights on the grid of Q4_0.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes that share the rows of each step, at most one per core.")
    ] = 1,
    seed: int = 0,
    publish_to: Annotated[
        Path | None,
        typer.Option(help="When the budget is spent, publish a mini here: weights and model card."),
    ] = None,
) -> None:
    """Train a mini or its drafter, or resume the training.

    A mini is trained from nothing: encoders, all skills, then tool calls and records. A drafter is trained
    for the published mini; of the options, --minutes (of processor time), --run, --start (a published
    drafter) and --seed apply to it.
    """
    if name in BASES:
        from .drafter_training import DrafterTrainer

        DrafterTrainer(run or _RUNS / name, name=name, minutes=minutes, seed=seed, start=start).train()
        return
    from .training import Trainer
    from .workers import started

    options: dict[str, Any] = {
        "run": run or _RUNS / _known(name), "name": name, "minutes": minutes, "seed": seed,
        "skills": tuple(skills.split(",")) if skills else None, "start": start, "keep_words": keep_words,
        "focus": tuple(focus.split(",")) if focus else (), "rate": rate, "qat": qat,
    }  # fmt: skip
    trainer = Trainer(**options)
    with started(workers, partial(_train_beside, options)) as place:
        trainer.join(place)
        trainer.train()
    if publish_to is not None and trainer.progress >= 1:
        _publish(trainer, publish_to)


def _train_beside(options: dict[str, Any], place: Workers) -> None:
    """Train as one of several workers, of which the first one saves."""
    from .training import Trainer

    trainer = Trainer(**options)
    trainer.join(place)
    trainer.train()


@app.command()
def publish(
    name: MiniOrDrafter = "mini-moe",
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint; default data/minis/NAME.")
    ] = None,
    run: Run = None,
) -> None:
    """Write the trained checkpoint, evaluate it on the held-out questions and write its model card."""
    run, folder = run or _RUNS / (name if name in BASES else _known(name)), folder or _MINIS / name
    if not (run / "state.pt").exists():
        raise LabError(f"There is no training run in {run}.", hint="Start one: gemma-lab minis train.")
    if name in BASES:
        from .drafter_training import DrafterTrainer

        DrafterTrainer(run, name=name, minutes=1).publish(folder)
        typer.echo((folder / "card.json").read_text(encoding="utf-8"))
        return
    from .training import Trainer

    _publish(Trainer(run, name=name, minutes=1, skills=()), folder)


def _publish(trainer: Trainer, folder: Path) -> None:
    """Write weights and log of a run, evaluate them and write their model card."""
    trainer.publish(folder)
    if (trainer.run / "log.jsonl").exists():
        write_log(trainer.run / "log.jsonl", folder / "training.jsonl", earlier=_earlier_log(trainer))
    minutes = round(trainer.spent / 60, 1)
    trained = sorted(trainer.trained)
    training = {
        "steps": trainer.step, "minutes": minutes, "seed": trainer.seed, "skills": trained,
        "stages": [asdict(stage) for stage in trainer.stages],
    } | ({"quantization_aware": "Q4_0"} if trainer.qat else {})  # fmt: skip
    started = {"started_from": trainer.earlier} if trainer.earlier else {}
    _card(folder, training | started, name=trainer.name)


def _earlier_log(trainer: Trainer) -> Path | None:
    """Return the log of the training that a run continues; None from nothing or from another mini."""
    log = trainer.start / "training.jsonl" if trainer.start else None
    return log if log and log.exists() and trainer.continues else None


@app.command()
def align_vision(
    folder: Annotated[Path, typer.Argument(help="Output folder: weights and model card.")],
    decoder: Annotated[Path, typer.Option(help="Folder of the mini whose decoder stays as it is.")],
    encoder: Annotated[Path, typer.Option(help="Folder of the mini whose vision encoder is taken.")],
    minutes: Annotated[float, typer.Option(help="Budget of processor time per thread, in minutes.")] = 9,
    seed: int = 0,
) -> None:
    """Teach one mini's vision encoder to speak to another's decoder, which stays as it is."""
    from transformers import GemmaTokenizer

    from .vision_alignment import VisionAlignment

    cards = [json.loads((one / "card.json").read_text(encoding="utf-8")) for one in (decoder, encoder)]
    name, tokenizer = cards[0]["name"], GemmaTokenizer.from_pretrained(decoder)
    alignment = VisionAlignment(name, tokenizer, decoder=decoder, encoder=encoder, seed=seed)
    left = alignment.train(minutes)
    alignment.publish(folder, log=decoder / "training.jsonl")
    training = {
        "steps": alignment.steps, "minutes": round(alignment.spent / 60, 1), "seed": seed,
        "skills": cards[0]["training"]["skills"], "stages": [{"name": "vision alignment", "errors": left}],
        "started_from": cards[0]["training"], "vision_from": cards[1]["training"],
    }  # fmt: skip
    texts = [row for row in cards[0]["skills"] if row["skill"] not in IMAGE_SKILLS]
    _card(folder, training, name=name, skills=list(IMAGE_SKILLS), earlier=texts)


@app.command()
def evaluate(
    name: Mini = "mini-moe",
    folder: Annotated[Path | None, typer.Option(help="Its folder; default data/minis/NAME.")] = None,
    skills: Annotated[
        str,
        typer.Option(help="Skills, comma-separated; the card keeps the others. Default those of a check-up."),
    ] = "",
) -> None:
    """Evaluate a published mini on the held-out questions and rewrite its model card."""
    folder = folder or _MINIS / _known(name)
    card = json.loads((folder / "card.json").read_text())
    only = skills.split(",") if skills else None
    _card(folder, card["training"], name=card["name"], skills=only, earlier=card["skills"])


def _known(name: str) -> str:
    if name not in SHAPES:
        drafters = f"; drafters, which are trained and published only: {', '.join(BASES)}"
        raise LabError(f"There is no mini {name!r}.", hint=f"There are {' and '.join(SHAPES)}{drafters}.")
    return name


def _card(
    folder: Path,
    training: dict[str, object],
    *,
    name: str,
    skills: list[str] | None = None,
    earlier: Sequence[dict[str, object]] = (),
) -> None:
    from ..lab import load
    from .batched_checkup import checkup_in_batches
    from .model_card import write_card

    found = checkup_in_batches(load(folder), skills=skills)
    write_card(folder, found, name=name, training=training, earlier=earlier)
    typer.echo(str(found))


@app.command()
def curves(
    name: Mini = "mini-moe",
    path: Annotated[
        Path | None, typer.Option(help="Path of the PNG; default docs/training-NAME.png.")
    ] = None,
) -> None:
    """Draw the training curves of a published mini, skill by skill."""
    from ..assets import data_path
    from ..views.evals.training import training_figure

    log = data_path(f"minis/{_known(name)}/training.jsonl")
    picture = training_figure(log, name=name)
    typer.echo(picture.save(path or Path(f"docs/training-{name}.png")))
    typer.echo(picture.text)


@app.command()
def questions(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("data/checkup"),
    each: Annotated[int, typer.Option(help="Questions per skill.")] = 200,
) -> None:
    """Draw the check-up's held-out questions; they are the same every time."""
    from ..evals.questions import FILES, write
    from .model_card import held_out_questions

    for name, named in zip(FILES, (False, True), strict=True):
        write(held_out_questions(each=each, named=named), folder / name)


@app.command()
def pictures(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("data/media/digits"),
) -> None:
    """Draw one held-out digit of each class as a sample image; they are the same every time."""
    from .tasks import digits

    folder.mkdir(parents=True, exist_ok=True)
    for digit, picture in digits.samples().items():
        picture.save(folder / f"{digit}.png")


@app.command()
def speech_clips(
    folder: Annotated[Path, typer.Argument(help="Output folder.")] = Path("data/speech"),
    samples: Annotated[Path, typer.Option(help="Folder of one sample per language.")] = Path(
        "data/media/speech"
    ),
    speak: Annotated[
        bool, typer.Option(help="Synthesise the digits with espeak-ng; otherwise only write the samples.")
    ] = True,
) -> None:
    """Synthesise the spoken digits with espeak-ng, in every voice and language."""
    from . import speech_clips

    if speak:
        speech_clips.make(folder)
    speech_clips.write_samples(samples)
