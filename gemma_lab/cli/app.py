"""The command line, ``gemma-lab``.

Exit codes: 0 done, 1 a `LabError` (its message, no traceback), 2 wrong usage.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .._version import __version__
from ..errors import LabError
from ..minis.cli import app as minis
from .causal_map import causal_map_command
from .fine_tuning import fine_tune_command
from .jacobian_lens import fit_lens_command
from .load_report import load_report_command
from .planning import plan_command, speed_command
from .scan import scan_command
from .server.command import serve_command
from .sparse_autoencoders import sae_fit_command, train_sae_command
from .versus import versus_command


class _Group(TyperGroup):
    """Turns a `LabError` into its message and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except LabError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Explore Google's Gemma 4.",
)
app.add_typer(minis, name="minis")
app.command("plan")(plan_command)
app.command("speed")(speed_command)
app.command("fine-tune")(fine_tune_command)
app.command("causal-map")(causal_map_command)
app.command("fit-lens")(fit_lens_command)
app.command("load-report")(load_report_command)
app.command("scan")(scan_command)
app.command("train-sae")(train_sae_command)
app.command("sae-fit")(sae_fit_command)
app.command("serve")(serve_command)
app.command("versus")(versus_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemma-lab {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Explore Google's Gemma 4."""


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="Only this one: an alias or a hub id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Report what this machine has and which models fit on it."""
    import json

    from ..system.report import doctor as examine

    report = examine(model)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else str(report))


@app.command()
def models(
    size: Annotated[str | None, typer.Option(help="E2B, E4B, 12B, 26B-A4B, 31B.")] = None,
    variant: Annotated[str | None, typer.Option(help="pt, it, assistant, qat, mini.")] = None,
    modality: Annotated[str | None, typer.Option(help="text, image, video, audio.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the Gemma 4 checkpoints and the minis."""
    import json

    from ..family.catalog import catalog

    found = catalog(size=size, variant=variant, modality=modality)
    if not len(found):
        raise LabError("No checkpoint matches these options.", hint="gemma-lab models lists them all.")
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else str(found))


@app.command()
def chat(
    name: Annotated[
        str | None, typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
    ] = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="Ask this and exit.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="An image for the first message; repeatable.")
    ] = None,
    video: Annotated[
        list[Path] | None, typer.Option(help="A video for the first message; repeatable.")
    ] = None,
    audio: Annotated[
        list[Path] | None, typer.Option(help="A sound for the first message, at most 30 s; repeatable.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="The system prompt.")] = None,
    thinking: Annotated[
        bool, typer.Option("--thinking", help="Generate thoughts before the answer.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling: a probability.")] = None,
    top_k: Annotated[int | None, typer.Option(help="How many of the likeliest tokens to draw from.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the sampling repeatable.")] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens.")] = 512,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    quantization: Annotated[
        str | None,
        typer.Option("--quantization", "-q", help="int8, int4, nf4, …; load-report shows its bits."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter of this model.")] = None,
    drafter: Annotated[
        str | None, typer.Option(help='A drafter: "auto" for its own, a name or a folder.')
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Chat with a model; Ctrl-C stops an answer, /help lists the commands."""
    from ..lab import load
    from .terminal_chat import Conversation

    lab = load(
        name, device=device, dtype=dtype, quantization=quantization, adapter=adapter, drafter=drafter,
        offline=offline or None,
    )  # fmt: skip
    settings = {
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed,
        "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    talk = Conversation(lab, write=_write, system=system, thinking=thinking, settings=settings)
    for kind, paths in (("image", image), ("video", video), ("audio", audio)):
        for path in paths or ():
            talk.attach(kind, path)
    if prompt is not None:
        talk.say(prompt)
        return
    typer.echo(f"{lab!r}\n/help for help", err=True)
    talk.loop(input)


@app.command()
def checkup(
    name: Annotated[
        str | None, typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="200 questions per skill instead of 20.")] = False,
    skill: Annotated[list[str] | None, typer.Option(help="Only this skill; repeatable.")] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Lowest accuracy that each skill may have.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    server: Annotated[
        str | None, typer.Option(help="Ask a model behind this OpenAI-compatible server instead.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model's name at the server.")] = None,
    token: Annotated[str | None, typer.Option(envvar="GEMMA_LAB_TOKEN", help="The server's token.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that the server may be silent.")] = 120.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float32.")] = "auto",
    quantization: Annotated[
        str | None,
        typer.Option("--quantization", "-q", help="int8, int4, nf4, …; load-report shows its bits."),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Folder of an adapter of this model.")] = None,
    drafter: Annotated[
        str | None, typer.Option(help='A drafter: "auto" for its own, a name or a folder.')
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Ask held-out questions and grade the answers; exits with 1 if a skill is below the threshold.

    With --server it is the acceptance test of an installation: the same questions through its protocol.
    """
    import json

    if server is None and model is not None:
        raise LabError("--model names a model at a server.", hint="Add --server URL, or leave it out.")
    if server is not None and name is not None:
        raise LabError("Name the model of a server with --model.", hint=f"--server {server} --model {name}")
    changes = {"--quantization": quantization, "--adapter": adapter, "--drafter": drafter}
    if server is not None and (given := [option for option, value in changes.items() if value is not None]):
        raise LabError(
            f"{' and '.join(given)} cannot be changed on a server from here.",
            hint="Start the server with it.",
        )
    if server is None:
        from ..lab import load

        lab = load(
            name, device=device, dtype=dtype, quantization=quantization, adapter=adapter, drafter=drafter,
            offline=offline or None,
        )  # fmt: skip
        found = lab.checkup(full=full, skills=skill or None)
    else:
        from ..remote_lab import connect

        found = connect(server, model, token=token, timeout=timeout).checkup(full=full, skills=skill or None)
    typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if as_json else str(found))
    if low := found.below(threshold):
        names = ", ".join(f"{score.name} {score.accuracy:.1%}" for score in low)
        raise LabError(
            f"Below the threshold of {threshold:.0%}: {names}.",
            hint="lab.checkup().failures has the questions, the expected answers and the replies.",
        )


def _write(text: str) -> None:
    typer.echo(text, nl=False)
