"""The page's arithmetic against Python's, over models, hardware, formats and runtimes."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from gemma_lab.errors import LabError
from gemma_lab.planning.cost import Ownership, break_even_tokens, monthly_cost
from gemma_lab.planning.devices import find_hardware
from gemma_lab.planning.planner import plan
from gemma_lab.planning.prices import hosted_price
from gemma_lab.widgets.planner import wire

ARITHMETIC = Path(wire.__file__).parents[1] / "js" / "planner" / "arithmetic.js"
MACHINES = (
    "RTX 3090",
    "RTX 5060 Ti",
    "2x RTX 4070 Ti",
    "M4 Max",
    "DGX Spark",
    "RX 7900 XT",
    "H100",
    "laptop",
    "GTX 1070",
)
RUNTIMES = {
    "llama.cpp": ("Q4_K_M", "QAT-Q4_0", "IQ3_XXS"),
    "Ollama": ("Q8_0",),
    "vLLM": ("bf16", "w4a16", "nvfp4", "fp8"),
    "MLX": ("mlx-4bit",),
    "transformers": ("bf16", "nf4"),
}
PROGRAM = """
import { readFileSync } from "node:fs";
import * as planner from "./arithmetic.mjs";
const { facts, choices } = JSON.parse(readFileSync("input.json", "utf-8"));
const named = (list, name) => list.find((each) => each.name === name);
const answers = choices.map((each) => {
  const choice = {
    model: facts.models[each.model], weights: named(facts.quantizations, each.quantization),
    hardware: named(facts.hardware, each.hardware), runtime: named(facts.runtimes, each.runtime),
    context: each.context, batch: each.batch, cacheBits: each.cacheBits, date: each.date,
  };
  const parts = planner.memoryParts(choice, facts.rules);
  return {
    parts: Object.fromEntries(parts.map((part) => [`${part.key} ${part.place}`, part.bytes])),
    fits: planner.fits(choice, facts.rules),
    longest: planner.longestContext(choice, facts.rules),
    decode: planner.decodeSpeed(choice, facts.rules, each.depth),
    prompt: planner.promptSpeed(choice, facts.rules, 1000),
  };
});
const owned = { price_usd: 1500, power_w: 350, idle_w: 20, usd_per_kwh: 0.25, years: 3 };
const speed = { prompt: 3000, answer: 120, ratio: 4 };
const months = [0, 1e6, 1e8, 1e9].map((tokens) => planner.monthlyCost(tokens, owned, speed));
const even = facts.prices.map((price) => [price.label, planner.breakEven(price, owned, speed)]);
console.log(JSON.stringify({ answers, months, even }));
"""


def choices() -> list[dict[str, object]]:
    """Return the settings that Python accepts among all combinations of a small grid."""
    found = []
    sizes = ("E2B", "12B", "26B-A4B", "31B", "Gemma 3 27B", "Qwen3.6-35B-A3B")
    grid = itertools.product(sizes, MACHINES, RUNTIMES.items(), ((4096, 1, "f16"), (100_000, 3, "q8_0")))
    for number, (model, machine, (runtime, formats), (context, batch, cache)) in enumerate(grid):
        quantization = formats[number % len(formats)]
        date = ("", "2026-04", "2026-07-01")[number % 3]
        kind = "f16" if runtime in ("vLLM", "transformers") else cache
        try:
            plan(model, hardware=machine, quantization=quantization, runtime=runtime, cache=kind)
        except LabError:  # MLX off Apple hardware and the like
            continue
        found.append(
            {
                "model": model,
                "hardware": machine,
                "quantization": quantization,
                "runtime": runtime,
                "context": context,
                "batch": batch,
                "cache": kind,
                "date": date,
                "depth": context // 3,
            }
        )
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    node = shutil.which("node")
    if node is None:
        pytest.fail("No node was found, which runs the page's arithmetic.", pytrace=False)
    folder = tmp_path_factory.mktemp("planner")
    machines = [find_hardware(name) for name in MACHINES if find_hardware(name).devices > 1]
    asked = [
        {
            **each,
            "hardware": find_hardware(str(each["hardware"])).label,
            "cacheBits": 8.5 if each["cache"] == "q8_0" else 16,
        }
        for each in choices()
    ]
    facts = wire.planner_facts(machines)
    (folder / "input.json").write_text(json.dumps({"facts": facts, "choices": asked}), encoding="utf-8")
    (folder / "arithmetic.mjs").write_text(ARITHMETIC.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "program.mjs").write_text(PROGRAM, encoding="utf-8")
    done = subprocess.run([node, "program.mjs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_memory_and_speed_of_the_page_equal_pythons(page: dict[str, list[dict[str, object]]]) -> None:
    asked = choices()
    assert len(asked) > 200
    for each, answer in zip(asked, page["answers"], strict=True):
        made = plan(
            str(each["model"]),
            hardware=str(each["hardware"]),
            quantization=str(each["quantization"]),
            runtime=str(each["runtime"]),
            context=int(each["context"]),
            batch=int(each["batch"]),
            cache=str(each["cache"]),
            runtime_date=str(each["date"]),
            depth=int(each["depth"]),
        )
        parts = {f"{part.key} {part.place}": part.bytes for part in made.parts}
        assert answer["parts"] == pytest.approx(parts, rel=1e-12), each
        assert answer["fits"] == made.fits, each
        assert answer["longest"] == made.longest_context, each
        for name, kit in (("decode", made.decode), ("prompt", made.prompt)):
            theirs = answer[name]
            assert (theirs is None) == (kit is None), (name, each)
            if kit is not None:
                expected = {"value": kit.value, "low": kit.low, "high": kit.high}
                assert theirs == pytest.approx(expected, rel=1e-9), (name, each)


def test_costs_of_the_page_equal_pythons(page: dict[str, list[object]]) -> None:
    owned = Ownership(price_usd=1500, power_w=350)
    months = [
        monthly_cost(tokens, ratio_in=4, owned=owned, prompt=3000, answer=120) for tokens in (0, 1e6, 1e8)
    ]
    assert page["months"][:3] == pytest.approx(months, rel=1e-12)
    assert page["months"][3] is None  # a month has too few hours for a thousand million tokens
    even = dict(page["even"])
    assert len(even) > 20
    for model, provider in (("claude-haiku-4.5", "Anthropic"), ("gemma-4-31B", "OpenRouter")):
        price = hosted_price(model, provider=provider, on="2026-11-29")
        expected = break_even_tokens(price, ratio_in=4, owned=owned, prompt=3000, answer=120)
        assert even[price.label] == pytest.approx(expected, rel=1e-12)
