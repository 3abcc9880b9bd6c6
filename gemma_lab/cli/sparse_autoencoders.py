"""``gemma-lab train-sae`` and ``gemma-lab sae-fit``: train an SAE on a file of prompts; measure one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import LabError

_PROMPTS = typer.Option(
    "--prompts", "-p", help="Text file, a prompt per line. [questions of the check-up in text]"
)
_MODEL = typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
_RAW = typer.Option("--raw", help="Read the prompts without the chat template.")
#: Questions of the check-up per skill that train, and that measure: none is in both.
_PER_SKILL = 60
_LONGEST = 400  # characters


def train_sae_command(
    name: Annotated[str | None, _MODEL] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the SAE, in sae_lens' layout.")],
    layer: Annotated[int, typer.Option("--layer", "-l", help="Layer of the decoder.")],
    prompts: Annotated[Path | None, _PROMPTS] = None,
    raw: Annotated[bool, _RAW] = False,
    features: Annotated[int | None, typer.Option(help="Number of features. [8 × width]")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Active features per token.")] = 16,
    steps: Annotated[int, typer.Option(help="Number of updates.")] = 2000,
    batch_size: Annotated[int, typer.Option(help="Tokens per update.")] = 512,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Train a TopK sparse autoencoder and save it; prints its fit on prompts that it was not trained on."""
    from ..lab import load

    texts = _split(prompts)
    lab = load(name, device=device, dtype=dtype, offline=offline or None)
    sae = lab.train_sae(
        texts[0], layer=layer, features=features, k=k, steps=steps, batch_size=batch_size, seed=seed,
        name=out.name, raw=raw,
    )  # fmt: skip
    sae.save(out)
    typer.echo(f"{sae!r} in {out}")
    typer.echo(repr(lab.sae_fit(sae, texts[1], raw=raw)))


def sae_fit_command(
    sae: Annotated[str, typer.Argument(help="A folder, or owner/name/folder of the hub.")],
    name: Annotated[str | None, _MODEL] = None,
    *,
    prompts: Annotated[Path | None, _PROMPTS] = None,
    raw: Annotated[bool, _RAW] = False,
    layer: Annotated[int | None, typer.Option(help="Where the SAE's files do not say.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Measure how much of the residual stream an SAE explains; exits with 1 below the limit."""
    from ..lab import load
    from ..models.sparse_autoencoders.load import load_sae

    found = load_sae(sae, layer=layer, offline=offline or None)
    texts = _split(prompts) if prompts is None else ([], read_prompts(prompts))
    lab = load(name, device=device, dtype=dtype, offline=offline or None)
    fit = lab.sae_fit(found, texts[1], raw=raw)
    typer.echo(repr(fit))
    if not fit.fits:
        raise LabError(
            f"Variance explained is {fit.variance_explained:.3f}, below {fit.min_variance_explained:g}.",
            hint="Is it an SAE of this model, and of such text?",
        )


def read_prompts(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises
    ------
    LabError
        If it cannot be read as UTF-8, or has none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read: {error}.", hint="Pass a text file in UTF-8.") from error
    found = [line for line in lines if line.strip()]
    if not found:
        raise LabError(f"{path} has no prompt.", hint="Write one per line.")
    return found


def _split(path: Path | None) -> tuple[list[str], list[str]]:
    """Return prompts to train on and others to measure on: nine tenths and one tenth of a file."""
    if path is not None:
        listed = read_prompts(path)
        held = max(1, len(listed) // 10)
        if len(listed) <= held:
            raise LabError(f"{path} has {len(listed)} prompt.", hint="Write more: a tenth is held out.")
        return listed[:-held], listed[-held:]
    from ..evals.questions import load_questions

    by_skill: dict[str, list[str]] = {}
    for one in load_questions():
        if not (one.images or one.frames or one.sound or one.tools) and len(one.prompt) <= _LONGEST:
            by_skill.setdefault(one.skill, []).append(one.prompt)
    train = [prompt for listed in by_skill.values() for prompt in listed[:_PER_SKILL]]
    held_out = [
        p for listed in by_skill.values() for p in listed[_PER_SKILL : _PER_SKILL + 10] if p not in train
    ]
    return train, held_out
