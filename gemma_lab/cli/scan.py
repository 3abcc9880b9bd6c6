"""``gemma-lab scan``: what stands out in one prompt, as text or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def scan_command(
    prompt: Annotated[str, typer.Argument(help="The prompt.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Alias, hub id, mini or folder.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a page with the trace to this HTML file.")
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image; repeatable.")] = None,
    draws: Annotated[int, typer.Option(help="Random sets per knock-out; 0 for none.")] = 99,
    seed: Annotated[int, typer.Option(help="Of the random sets.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Answer a prompt and print what stands out, each number beside its null."""
    from ..lab import load

    lab = load(model, device=device, dtype=dtype, offline=offline or None)
    found = lab.scan(
        prompt, images=image or None, draws=draws, seed=seed, max_new_tokens=max_new_tokens
    )  # fmt: skip
    if out is not None:
        from ..widgets.scan.widget import ScanExplorer

        typer.echo(f"{ScanExplorer(found).to_html(out)}", err=True)
    typer.echo(str(found))
