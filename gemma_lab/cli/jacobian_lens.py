"""``gemma-lab fit-lens``: fit the Jacobian lens of a model and save it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .fine_tuning import read_examples


def fit_lens_command(
    model: Annotated[
        str | None, typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File of the lens, .safetensors.")] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help='Texts: JSON Lines as of fine-tune ({"prompt": …, "answer": …}), or a text file whose '
            "paragraphs are the texts. [questions of the check-up]"
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Length that texts are cut to.")] = 128,
    skip: Annotated[int, typer.Option(help="Positions left out at the start of each text.")] = 4,
    copies: Annotated[
        int | None, typer.Option(help="Copies of a text that are read together. [by free memory]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted fit.")] = False,
    cost: Annotated[
        bool, typer.Option("--cost", help="Say what it takes and exit; nothing is loaded.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Fit the Jacobian lens of a model; Ctrl-C keeps the state, --resume goes on."""
    from ..errors import LabError
    from ..trace.lenses.fit import lens_cost

    if cost:
        from ..models.fine_tuning.before_loading import model_without_weights

        shape = model_without_weights(model)
        if shape is None:
            raise LabError(f"The shape of {model} is not known before it is downloaded.", hint="Load it.")
        typer.echo(str(lens_cost(shape, max_tokens=max_tokens, copies=copies)))
        return
    if out is None:
        raise LabError("No file was named for the lens.", hint="Add --out lens.safetensors, or --cost.")
    from ..lab import load

    texts = None if corpus is None else read_texts(corpus)
    lab = load(model, device=device, dtype=dtype, offline=offline or None)
    state = out.with_suffix(".partial")
    lens = lab.fit_lens(
        texts, corpus=None if corpus is None else corpus.name, max_tokens=max_tokens, skip=skip,
        copies=copies, checkpoint=state, resume=resume,
    )  # fmt: skip
    lens.save(out)
    state.unlink(missing_ok=True)
    typer.echo(repr(lens))


def read_texts(path: Path) -> list[object]:
    """Return the examples of a JSON Lines file, or the paragraphs of a text file.

    Raises
    ------
    LabError
        If the file cannot be read, or holds none.
    """
    from ..errors import LabError

    if path.suffix == ".jsonl":
        return read_examples(path)
    try:
        paragraphs = path.read_text(encoding="utf-8-sig").split("\n\n")
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read: {error}", hint="Pass a text file in UTF-8.") from error
    texts: list[object] = [text.strip() for text in paragraphs if text.strip()]
    if not texts:
        raise LabError(f"{path.name} has no text.", hint="Texts are separated by empty lines.")
    return texts
