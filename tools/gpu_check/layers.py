"""What recording costs at the layer sizes of real models, whose weights are random here."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import torch

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.family.architecture import configuration
from gemma_lab.system.hardware import amount, devices

from .figure import Figure, Measured, measure, ratio_figures, synchronize
from .probing import capture, input_ids, prefill

_VOCABULARY = 32_768  # the layers are what is measured, not the output head
_HEADROOM = 0.5  # share of the free memory that random weights may take
_ANSWER = 64
_BATCHES = (1, 8, 32)


def true_sizes(size: str, device: torch.device, *, tokens: int, layers: int) -> Iterator[Figure]:
    """Measure capture, decoding and batches at the layer sizes of one of the five models."""
    lab = random_lab(size, configuration(size), device, layers)
    yield from captured(lab, device, tokens)
    yield from decoded(lab, device)
    if lab.architecture.experts:
        yield from batched(lab, device, prompts=2 * _BATCHES[-1], batches=_BATCHES)


def captured(lab: gl.Lab, device: torch.device, tokens: int) -> Iterator[Figure]:
    """Measure a prefill with and without probes, against SDPA and every flash attention that is here."""
    ids = _ids(lab, tokens)
    case = f"{lab.name}, {ids.shape[1]:,} tokens"
    plain = measure(lambda: prefill(lab, ids), device)
    yield Figure("gpu-prefill", case, ids.shape[1] / plain.seconds, "tokens/s", "", "SDPA, one pass")
    if lab.architecture.experts:
        recorded = _recorded(lab, ids, device, routing=True)
        yield from ratio_figures("routing", case, plain, recorded, time_target="≤ 1.05")
    recorded = _recorded(lab, ids, device, attention=True)
    yield from ratio_figures("attention", case, plain, recorded, time_target="≤ 1.5")
    for name in _flash_kernels(device):
        try:
            with _attention_kernel(lab, name):
                flash = measure(lambda: prefill(lab, ids), device)
        except (ImportError, RuntimeError, ValueError) as error:  # a head too wide, a GPU too old
            print(f"  {name}: not run. {_first_line(error)}", flush=True)
            continue
        yield from ratio_figures(f"attention-{name}", case, flash, recorded, time_target="", against=name)


def decoded(lab: gl.Lab, device: torch.device) -> Iterator[Figure]:
    """Measure generation of one sequence, its prefill left out."""
    prompt = _text(lab, 128)
    taken = [
        _elapsed(lambda n=new: lab.chat(prompt, raw=True, max_new_tokens=n, temperature=0.0), device)
        for new in (1, 1, _ANSWER)  # the first call warms up
    ]
    made, seconds = taken[2][0] - taken[1][0], taken[2][1] - taken[1][1]
    if made < 1 or seconds <= 0:
        print(f"  gpu-decode: not measured, random weights ended the answer after {taken[2][0]} tokens.")
        return
    yield Figure("gpu-decode", lab.name, made / seconds, "tokens/s", "", f"{made} tokens of one sequence")


def batched(lab: gl.Lab, device: torch.device, *, prompts: int, batches: Sequence[int]) -> Iterator[Figure]:
    """Survey the same prompts in batches of several sizes: how fast, and how many experts stay the same."""
    texts = [_text(lab, 32 + 2 * number) for number in range(prompts)]
    experts: list[Any] = []
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for batch_size in batches:
            lab.trace(texts[0])
            synchronize(device)
            start = time.perf_counter()
            survey = gl.survey(
                texts, lab, out=Path(folder) / str(batch_size), batch_size=batch_size, progress=False
            )
            rates.append(prompts / (time.perf_counter() - start))
            errors = [one for one in survey.dataset().to_table(columns=["error"])["error"].to_pylist() if one]
            if errors:
                raise LabError(f"A survey in batches of {batch_size} failed for {len(errors)}: {errors[0]}")
            experts.append(_experts(survey.dataset("tokens")))
            case, note = f"{lab.name}, batches of {batch_size}", f"{prompts} prompts of 32 tokens and more"
            yield Figure(
                "gpu-survey", case, rates[-1], "prompts/s", "", f"{note}; × {rates[-1] / rates[0]:.2f}"
            )
            if batch_size > 1:
                same = float((experts[-1] == experts[0]).mean())
                yield Figure("gpu-survey-experts", case, same, "", "", "experts as one by one")


def random_lab(
    name: str,
    config: Mapping[str, Any],
    device: torch.device,
    layers: int,
    dtype: torch.dtype = torch.bfloat16,
) -> gl.Lab:
    """Build a model's last layers with random weights on the device, with the tokenizer of a mini.

    Parameters
    ----------
    name
        Of the size, for the table.
    config
        Its configuration, as in a ``config.json``.
    layers
        How many layers at most; fewer where memory is short.

    Raises
    ------
    LabError
        If not even one layer fits.
    """
    import transformers

    wanted = layers
    model_class = getattr(transformers, config["architectures"][0])
    free = next((one.free for one in devices() if one.name == str(device)), 0)
    while layers:
        settings = model_class.config_class.from_dict(_shortened(config, layers))
        with torch.device("meta"):
            needed = dtype.itemsize * sum(weight.numel() for weight in model_class(settings).parameters())
        if needed <= _HEADROOM * free:
            break
        layers -= 1
    if not layers:
        raise LabError(f"{name}: one layer takes {amount(needed)}, of {amount(free)} free.")
    if layers < wanted:
        print(f"  {name}: {layers} instead of {wanted} layers, for {amount(free)} of free memory.")
    torch.manual_seed(0)
    with torch.device(device), _default_dtype(dtype):
        model = model_class(settings)
    tokenizer = gl.load("mini-moe", device="cpu", progress=False).tokenizer
    called = f"{name}, {layers} layer{'s' if layers > 1 else ''} of random weights, {str(dtype)[6:]}"
    return gl.Lab(model=model.eval(), processor=tokenizer, name=called)


def _shortened(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Return a configuration of a model's last layers, of which the very last is global, without towers."""
    short = copy.deepcopy(dict(config))
    text = short["text_config"]
    text.pop("per_layer_config", None)  # transformers derives it from the kinds of layers
    text["layer_types"] = text["layer_types"][-layers:]
    text["num_hidden_layers"] = len(text["layer_types"])
    text["vocab_size"] = min(text["vocab_size"], _VOCABULARY)
    for key in ("vision_config", "audio_config"):
        if key in short:
            short[key] = None
    return short


def _recorded(
    lab: gl.Lab, ids: torch.Tensor, device: torch.device, *, routing: bool = False, attention: bool = False
) -> Measured:
    def run() -> None:
        with capture(lab, ids, routing=routing, attention=attention):
            prefill(lab, ids)

    return measure(run, device)


def _flash_kernels(device: torch.device) -> list[str]:
    """Return transformers' names of the flash attentions that are installed; PyTorch's own needs a GPU."""
    if device.type != "cuda":
        return []
    packages = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
    found = [name for name, package in packages.items() if importlib.util.find_spec(package)]
    return [*found, "flex_attention"]


@contextlib.contextmanager
def _attention_kernel(lab: Any, name: str) -> Iterator[None]:
    before = lab.text_config._attn_implementation  # noqa: SLF001 - transformers has no public name for it
    lab.model.set_attn_implementation(name)
    try:
        yield
    finally:
        lab.model.set_attn_implementation(before)


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _ids(lab: gl.Lab, tokens: int) -> torch.Tensor:
    """Return random ids of words, ``[1, tokens]``."""
    words = torch.randint(400, 4000, (1, tokens), generator=torch.Generator().manual_seed(0))
    return words.to(lab.device)


def _text(lab: gl.Lab, tokens: int) -> str:
    """Return a text of about so many tokens."""
    sentence = "The road was open at noon, and seven of the boats came back. "
    each = input_ids(lab, sentence).shape[1]
    return sentence * max(1, tokens // each)


def _experts(dataset: ds.Dataset) -> Any:
    """Return the experts of every token of a survey, ``[tokens × layers × k]``, in order."""
    table = dataset.to_table(columns=["prompt", "position", "experts"])
    table = table.sort_by([("prompt", "ascending"), ("position", "ascending")])
    return table["experts"].combine_chunks().flatten().to_numpy()


def _elapsed(call: Any, device: torch.device) -> tuple[int, float]:
    """Return the tokens of a reply and the seconds that it took."""
    start = time.perf_counter()
    reply = call()
    synchronize(device)
    return len(reply.tokens), time.perf_counter() - start


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:160]}"
