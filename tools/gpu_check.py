"""``make gpu-check``: exactness, speed and memory of tracing on this machine's accelerator, in five minutes.

Needs no weights and no network: the minis ship with the repository, and models of true layer sizes get random
weights. Prints a table and appends it to the benchmarks' results under the name of the device. On a machine
without a GPU it says so and ends without an error; ``python -m tools.gpu_check --device cpu --tokens 256
--layers 1`` runs the same steps on a CPU, at smaller sizes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gemma_lab as gl
from gemma_lab.assets import data_path
from gemma_lab.errors import LabError
from gemma_lab.family.architecture import configuration

from .bench.ledger import RESULTS, keep, write_page
from .bench.results import Result, append

_PROMPTS = ("Write 47 in German words.", "Which is larger, 12 or 21?", "Write 308 in French words.")
_LAYERS = 6  # five local layers and a global one
_HEADROOM = 0.5  # share of the free memory that random weights may take


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    row: str
    value: float
    unit: str
    note: str
    target: str = ""


def main() -> None:
    """Run every step that this machine can run, print the table, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="Default: the first GPU.")
    parser.add_argument("--tokens", type=int, default=4096, help="Length of the traced prompt.")
    parser.add_argument("--layers", type=int, default=_LAYERS, help="Layers of models of true layer sizes.")
    parser.add_argument("--keep", action="store_true", help="Append the results to docs/benchmarks.jsonl.")
    chosen = parser.parse_args()
    name = chosen.device or _accelerator()
    if name is None:
        print("No GPU was found (CUDA, ROCm, Intel XPU or Apple MPS): nothing was run.")
        print("The same steps on the CPU: python -m tools.gpu_check --device cpu --tokens 512")
        return
    device = torch.device(name)
    title = device_name(device)
    print(f"{title} · torch {torch.__version__}", flush=True)
    figures: list[Figure] = []
    sized = {"device": device, "tokens": chosen.tokens, "layers": chosen.layers}
    steps: list[Callable[[], Iterator[Figure]]] = [
        partial(exactness, device),
        partial(mini_speed, device),
        partial(true_sizes, "26B-A4B", **sized),
        partial(true_sizes, "31B", **sized),
        partial(quantised, device),
    ]
    for step in steps:
        start = time.perf_counter()
        try:
            for figure in step():
                figures.append(figure)
                print(_line(figure), flush=True)
        except LabError as error:  # a step that this machine cannot run is named, the others go on
            print(f"  not run: {error.what}", flush=True)
        print(f"    {time.perf_counter() - start:.0f} s", flush=True)
    if device.type != "cpu" or chosen.keep:
        _keep(figures, title)


def exactness(device: torch.device) -> Iterator[Figure]:
    """Compare the minis on the device with the CPU, and traced with untraced, in float32 and bfloat16."""
    for name in ("mini-moe", "mini-edge"):
        here = gl.load(name, device=str(device), dtype=torch.float32)
        reference = gl.load(name, device="cpu", dtype=torch.float32)
        same = [_ids(here, prompt) == _ids(reference, prompt) for prompt in _PROMPTS]
        yield Figure(
            "gpu-greedy", float(np.mean(same)), "", f"{name}, float32: answers equal to the CPU's", "= 1"
        )
        logits = [_logits(lab, _PROMPTS[0]) for lab in (here, reference)]
        error = float((logits[0] - logits[1]).abs().max())
        yield Figure(
            "gpu-logits", error, "", f"{name}, float32: largest difference of a logit from the CPU's"
        )
        for dtype in (torch.float32, torch.bfloat16):
            lab = gl.load(name, device=str(device), dtype=dtype)
            plain = lab.chat(_PROMPTS[0], top_logprobs=5)
            trace = lab.trace(_PROMPTS[0], attention=True, max_new_tokens=len(plain.tokens), top_logprobs=5)
            probabilities = np.array([token.probability for token in plain.tokens])
            assert trace.generation is not None
            difference = float(np.abs(np.exp(trace.generation.logprobs) - probabilities).max())
            yield Figure(
                "gpu-traced", difference, "", f"{name}, {dtype}: traced and untraced probabilities", "= 0"
            )


def mini_speed(device: torch.device) -> Iterator[Figure]:
    """Measure generation of mini-moe, in tokens per second."""
    for dtype in (torch.float32, torch.bfloat16):
        lab = gl.load("mini-moe", device=str(device), dtype=dtype)
        lab.chat(_PROMPTS[0])
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < 3:
            count += len(lab.chat(_PROMPTS[0]).tokens)
        _wait(device)
        yield Figure(
            "gpu-mini-speed", count / (time.perf_counter() - start), "tokens/s", f"mini-moe, {dtype}, batch 1"
        )


def true_sizes(size: str, device: torch.device, *, tokens: int, layers: int) -> Iterator[Figure]:
    """Measure what recording costs at the layer sizes of a real model with random weights."""
    lab = _random_lab(size, device, layers)
    prompt = _text(lab, tokens)
    note = (
        f"{size}, {lab.text_config.num_hidden_layers} layers of random weights, {tokens:,} tokens, bfloat16"
    )
    plain = _best(lambda: lab.trace(prompt, max_new_tokens=1, routing=False, attention=False), device)
    for row, attention in (("gpu-routing-time", False), ("gpu-attention-time", True)):
        if not attention and not lab.architecture.experts:
            continue
        traced = _best(partial(lab.trace, prompt, max_new_tokens=0, attention=attention), device)
        yield Figure(row, traced[0] / plain[0], "×", f"{note}; plain {plain[0]:.2f} s", "≤ 1.5")
        if plain[1] and traced[1]:
            yield Figure(
                row.replace("time", "memory"), traced[1] / plain[1], "×",
                f"{note}; plain {plain[1] / 2**20:,.0f} MiB beyond the weights", "≤ 1.3",
            )  # fmt: skip
    start = time.perf_counter()
    count = len(lab.chat(prompt, max_new_tokens=64).tokens)
    _wait(device)
    yield Figure("gpu-decode", count / (time.perf_counter() - start), "tokens/s", f"{note}, with its prefill")


def quantised(device: torch.device) -> Iterator[Figure]:
    """Load mini-moe in every quantization that this machine has; report bits held and agreement."""
    reference = gl.load("mini-moe", device=str(device))
    answers = [_ids(reference, prompt) for prompt in _PROMPTS]
    for quantization in ("int8", "int4", "bitsandbytes-int8", "bitsandbytes-nf4", "torchao-int8"):
        try:
            lab = gl.load("mini-moe", device=str(device), quantization=quantization)
        except LabError as error:
            print(f"  {quantization}: not run, {error.what}", flush=True)
            continue
        same = [_ids(lab, prompt) == ids for prompt, ids in zip(_PROMPTS, answers, strict=True)]
        yield Figure(
            "gpu-quantised", float(np.mean(same)), "", f"mini-moe, {quantization}: answers unchanged"
        )


def device_name(device: torch.device) -> str:
    """Return the device's own name with its memory."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    from .bench.machine import machine

    return machine()


def _accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda:0"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return "xpu:0"
    return "mps" if torch.backends.mps.is_available() else None


def _random_lab(size: str, device: torch.device, layers: int) -> Any:
    """Build some layers of a size with random weights on the device, with a mini's tokenizer."""
    import transformers

    config = configuration(size)
    text = config["text_config"]
    text["num_hidden_layers"] = layers
    text["layer_types"] = text["layer_types"][-layers:]  # the last layer of every size is a global one
    for key in ("vision_config", "audio_config"):
        if key in config:
            config[key] = None
    text["vocab_size"] = 32_768  # the layers are what is measured
    model_class = getattr(transformers, config["architectures"][0])
    settings = model_class.config_class.from_dict(config)
    with torch.device("meta"):
        needed = 2 * sum(weight.numel() for weight in model_class(settings).parameters())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is not None and needed > _HEADROOM * free:
        raise LabError(f"{size}: {layers} layers take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free.")
    torch.manual_seed(0)
    with torch.device(device), _dtype(torch.bfloat16):
        model = model_class(settings)
    tokenizer = gl.load("mini-moe", device="cpu").tokenizer
    return gl.Lab(model=model.eval(), processor=tokenizer, name=f"{size}-random")


@contextlib.contextmanager
def _dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _text(lab: Any, tokens: int) -> str:
    """Return a text of at most so many tokens."""
    words = json.loads(Path(data_path("manifest.json")).read_text("utf-8"))
    text = " ".join(str(key) for key in words) + " The road was open at noon."
    while len(lab.tokenizer(text)["input_ids"]) < tokens:
        text += text
    ids = lab.tokenizer(text)["input_ids"][: tokens - 32]
    return str(lab.tokenizer.decode(ids, skip_special_tokens=True))


def _best(call: Callable[[], Any], device: torch.device) -> tuple[float, int]:
    """Return the least time of three calls in seconds, and the peak memory beyond what was held, in bytes."""
    times, peak = [], 0
    for _ in range(3):
        held = _reset_peak(device)
        start = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - start)
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device) - held
    return min(times), peak


def _reset_peak(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _prefill(lab: Any, prompt: str) -> None:
    """Read a prompt without any probe."""
    ids = torch.tensor([lab.tokenizer(prompt)["input_ids"]], device=lab.device)
    with torch.no_grad():
        lab.model(input_ids=ids, use_cache=False, logits_to_keep=1)


def _logits(lab: Any, prompt: str) -> torch.Tensor:
    ids = torch.tensor([lab.tokenizer(prompt)["input_ids"]], device=lab.model.device)
    with torch.no_grad():
        return lab.model(input_ids=ids).logits.float().cpu()  # type: ignore[no-any-return]


def _ids(lab: Any, prompt: str) -> list[int]:
    return [token.id for token in lab.chat(prompt).tokens]


def _line(figure: Figure) -> str:
    return f"  {figure.row:<20} {figure.value:>10.4g} {figure.unit:<9} {figure.target:<7} {figure.note}"


def _keep(figures: list[Figure], title: str) -> None:
    """Merge the results into the kept ones, under the device's name."""
    run = Path("build") / "gpu-check.jsonl"
    run.parent.mkdir(exist_ok=True)
    run.unlink(missing_ok=True)
    today = dt.datetime.now(dt.UTC).date().isoformat()
    for figure in figures:
        append(run, Result(
            figure.row, float(figure.value), figure.target, figure.unit, figure.note,
            case=f"{title}: {figure.note}", machine=title, date=today, test=f"gpu-check {title}",
        ))  # fmt: skip
    keep(run, Path())
    write_page(Path())
    print(f"Kept in {RESULTS}.")


if __name__ == "__main__":
    main()
