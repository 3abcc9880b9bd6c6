"""``gemma-lab load-report``: in how many bits each part of a model is held, after loading or before."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Annotated, Any

import typer

from ..errors import LabError


def load_report_command(
    name: Annotated[
        str | None, typer.Argument(help="Alias, hub id, mini or folder. [GEMMA_LAB_MODEL, else mini-moe]")
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option("--quantization", "-q", help="int8, int4, int4-g64-e8, nf4, bnb-int8, torchao-int8."),
    ] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Do not load: compute it from the shapes of the weights.")
    ] = False,
    qat: Annotated[
        bool, typer.Option("--qat", help="Also test whether the weights lie on a Q4_0 grid.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="Of what is not packed: auto, bfloat16, float32.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
) -> None:
    """Load a model and report the bits and bytes of each part: experts, attention, embeddings, towers."""
    if qat and (predict or quantization is not None):
        raise LabError(
            "--qat looks at the weights of a model that is loaded without a quantisation.",
            hint="Leave out --predict and --quantization.",
        )
    if predict:
        from ..models.loading.predicted_bits import predicted_bits

        found = predicted_bits(
            name,
            quantization=quantization,
            dtype="bfloat16" if dtype == "auto" else dtype,
            offline=offline or None,
        )
        _write(found, as_json)
        return
    from ..lab import load

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        lab = load(name, device=device, dtype=dtype, quantization=quantization, offline=offline or None)
    for warning in caught:
        typer.echo(f"Warning: {warning.message}", err=True)
    _write(lab.bits(), as_json)
    if qat:
        from ..models.quantization.q4_0_grid import qat_grid

        _write(qat_grid(lab), as_json)


def _write(result: Any, as_json: bool) -> None:
    text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False) if as_json else str(result)
    typer.echo(text, file=sys.stdout)
