"""``gemma-lab causal-map``: patch one prompt's run from another, as text, as a page and as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import LabError

if TYPE_CHECKING:
    from ..evals.causal.causal_map import CausalMap


def causal_map_command(
    clean: Annotated[str | None, typer.Argument(help="The clean prompt.")] = None,
    corrupted: Annotated[str | None, typer.Argument(help="The corrupted one, of as many tokens.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Alias, hub id, mini or folder.")] = None,
    opened: Annotated[
        Path | None, typer.Option("--open", help="Show a saved map instead; nothing is loaded.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", "-s", help="Keep the map in this file.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a page to this HTML file.")] = None,
    answer: Annotated[
        str | None, typer.Option(help="What is measured. [first token of the model's answer]")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="residual, attention, mlp, experts, head, expert or all; repeatable. [residual]"),
    ] = None,
    patching: Annotated[str, typer.Option(help="denoising or noising.")] = "denoising",
    method: Annotated[str, typer.Option(help="exact or gradient.")] = "exact",
    spans: Annotated[
        int | None, typer.Option(help="Tokens per column. [1; more than 128 columns: more]")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="An image of the clean prompt; repeatable.")
    ] = None,
    corrupted_image: Annotated[
        list[Path] | None, typer.Option(help="Of the corrupted prompt; repeatable. [as --image]")
    ] = None,
    controls: Annotated[int, typer.Option(help="Controls; 0 for none.")] = 19,
    seed: Annotated[int, typer.Option(help="Of the controls.")] = 0,
    top: Annotated[int, typer.Option(help="How many effects are printed.")] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Patch every part of a run from another one, and print what moves the answer most."""
    lab: Any = None
    if opened is not None:
        from ..evals.causal.causal_map import open_causal_map

        if clean is not None or save is not None:
            raise LabError("--open shows a saved map: no prompts, no --save.", hint="Leave them out.")
        found = open_causal_map(opened)
    else:
        if clean is None or corrupted is None:
            raise LabError("Two prompts are needed.", hint='gemma-lab causal-map "… 75 …" "… 31 …"')
        from ..lab import load

        lab = load(model, device=device, dtype=dtype, offline=offline or None)
        prompts: list[Any] = [clean, corrupted]
        if image or corrupted_image:
            pictures = (image, corrupted_image or image)
            prompts = [
                lab.request(prompt, images=list(each or ()))
                for prompt, each in zip(prompts, pictures, strict=True)
            ]
        parts: Any = "all" if part == ["all"] else part or "residual"
        found = lab.causal_map(
            *prompts, answer=answer, parts=parts, patching=patching, method=method, spans=spans,
            controls=controls, seed=seed,
        )  # fmt: skip
    if save is not None:
        typer.echo(str(found.save(save, images=True)), err=True)
    if out is not None:
        typer.echo(str(_write_page(found, lab, out)), err=True)
    typer.echo(_listed(found, top))


def _write_page(found: CausalMap, lab: Any, out: Path) -> Path:
    """Write the explorer as a page, with the runs behind the largest effect if there is a model."""
    from ..widgets.causal.widget import CausalExplorer

    explorer = CausalExplorer(found, lab=lab)
    if lab is not None and (best := found.top(1)):
        explorer.trace_cell(best[0].layer, best[0].column, part=best[0].part)
    return explorer.to_html(out)


def _listed(found: CausalMap, count: int) -> str:
    """Return the map in one line, and its largest effects."""
    from ..views.base.text import visible

    lines = [visible(repr(found)), "", "change of log p, nats      p  patched"]
    for each in found.top(count):
        p = "" if each.p is None else f"{each.p:.2g}"
        lines.append(f"{each.effect:+21.3f} {p:>6}  {visible(found.label(each))}")
    return "\n".join(lines)
