"""``gemma-lab plan`` and ``gemma-lab speed``: what fits, how fast, at what cost; measured and predicted."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import LabError
from ..planning.planner import plan


def plan_command(
    model: Annotated[str, typer.Argument(help="A size or a checkpoint: 26B-A4B, 12b-it, Qwen3.6-35B-A3B.")],
    hardware: Annotated[str, typer.Argument(help='A name, e.g. "RTX 3090", "2x RTX 5060 Ti", "laptop".')],
    quantization: Annotated[
        str | None, typer.Option("--quantization", "-q", help="E.g. Q4_K_M, bf16.")
    ] = None,
    file_gb: Annotated[float | None, typer.Option(help="Size of the decoder's file, 10⁹ bytes.")] = None,
    context: Annotated[int, typer.Option("--context", "-c", help="Tokens of a sequence.")] = 8192,
    batch: Annotated[int, typer.Option("--batch", "-b", help="Sequences at once.")] = 1,
    images: Annotated[int, typer.Option(help="Soft tokens of pictures at once.")] = 0,
    runtime: Annotated[str, typer.Option("--runtime", "-r", help="llama.cpp, vLLM, MLX, …")] = "llama.cpp",
    runtime_date: Annotated[str, typer.Option(help="Date of its build, ISO; newest if left out.")] = "",
    cache: Annotated[str, typer.Option(help="Type of the key-value cache.")] = "f16",
    drafter: Annotated[bool, typer.Option("--drafter", help="With the model's own drafter.")] = False,
    offload: Annotated[str, typer.Option(help="none, auto, experts or layers.")] = "none",
    depth: Annotated[int | None, typer.Option(help="Tokens in the cache for the speed.")] = None,
    prompt: Annotated[int, typer.Option(help="Tokens of the prompt for the first token.")] = 1000,
    cost: Annotated[bool, typer.Option("--cost", help="Add costs, owned, rented and hosted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Plan a model on hardware: memory by part, whether it fits, speed, and with --cost its cost."""
    made = plan(
        model,
        hardware=hardware,
        quantization=quantization if quantization is not None or file_gb is None else file_gb * 1e9,
        file_bytes=None if file_gb is None or quantization is None else file_gb * 1e9,
        context=context,
        batch=batch,
        images=images,
        runtime=runtime,
        runtime_date=runtime_date,
        cache=cache,
        drafter=drafter,
        offload=offload,
        depth=depth,
        prompt=prompt,
    )
    if as_json:
        content = made.to_dict()
        if cost:
            costs = made.cost()
            content |= {"costs": [vars(row) for row in costs], "cost_notes": list(costs.notes)}
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    typer.echo(str(made))
    if cost:
        typer.echo(f"\n{made.cost()}")


def speed_command(
    model: Annotated[str, typer.Argument(help="What `load` takes: a mini, an alias, a hub id, a folder.")],
    depths: Annotated[str, typer.Option(help="Tokens in the cache, with commas.")] = "0,512,2048",
    repeats: Annotated[int, typer.Option(help="Decoding steps timed at each depth.")] = 8,
    csv: Annotated[bool, typer.Option("--csv", help="As rows of the shared table of runs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Time prompts and decoding of a model on this machine, beside the plan for it."""
    from ..evals.timing import speed
    from ..lab import load

    parts = [part.strip() for part in depths.split(",")]
    if not all(part.isdigit() for part in parts):
        raise LabError(f"--depths takes numbers with commas, not {depths!r}.", hint='E.g. "0,512,2048".')
    report = speed(load(model), depths=[int(part) for part in parts], repeats=repeats)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(report.to_csv() if csv else str(report))
