"""The plan as a whole: bad input, costs, prices, text, JSON, the command line, and what it imports."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest
import typer
from typer.testing import CliRunner

from gemma_lab.cli.planning import plan_command
from gemma_lab.errors import LabError, MissingExtra
from gemma_lab.planning.cost import Ownership, break_even_tokens, monthly_cost
from gemma_lab.planning.devices import find_hardware, hardware_names
from gemma_lab.planning.drafting import published_drafts
from gemma_lab.planning.facts import read_rows
from gemma_lab.planning.licensing import licences
from gemma_lab.planning.models import shapes_by_key
from gemma_lab.planning.planner import plan
from gemma_lab.planning.prices import PriceEnded, hosted_price, hosted_prices, rental_price, rental_prices
from gemma_lab.planning.quantization import quantization_names
from gemma_lab.planning.runtimes import known_runtimes

DAY = "2026-11-29"


@pytest.mark.parametrize(
    ("changes", "word", "near"),
    [
        ({"model": "26B-A5B"}, "26B-A5B", "26B-A4B"),
        ({"hardware": "RTX 3095"}, "RTX 3095", "RTX 3090"),
        ({"hardware": {"bandwith_gb_s": 400}}, "bandwith_gb_s", "bandwidth_gb_s"),
        ({"hardware": {"memory_gib": -3}}, "-3", "unknown"),
        ({"hardware": {"memory_gib": float("nan")}}, "nan", "unknown"),
        ({"quantization": "Q4_K_N"}, "Q4_K_N", "Q4_K_M"),
        ({"quantization": -5}, "-5", "bytes"),
        ({"runtime": "llamacp"}, "llamacp", "llama.cpp"),
        ({"runtime": "vLLM", "quantization": "Q4_K_M"}, "Q4_K_M", "w4a16"),
        ({"runtime": "MLX"}, "cuda", "llama.cpp"),
        ({"cache": "q9_0"}, "q9_0", "q8_0"),
        ({"context": -1}, "-1", "context"),
        ({"context": 0}, "0", "context"),
        ({"context": 1_000_000}, "262,144", "context"),
        ({"context": 4096.5}, "4096.5", "context"),
        ({"batch": 0}, "0", "batch"),
        ({"batch": True}, "True", "batch"),
        ({"depth": -1}, "-1", "depth"),
        ({"prompt": 0}, "0", "prompt"),
        ({"images": -1}, "-1", "images"),
        ({"hardware": {"memory_gib": 8, "devices": 1.5}}, "1.5", "devices"),
        ({"offload": "expert"}, "expert", "experts"),
        ({"model": "31B", "offload": "experts"}, "31B", "layers"),
        ({"expert_hit_rate": 1.5}, "1.5", "expert_cache"),
        ({"expert_hit_rate": "0.5"}, "0.5", "expert_cache"),
        ({"model": "12B", "expert_hit_rate": 0.5}, "12B", "Leave"),
        ({"hardware": "M4 Max", "expert_hit_rate": 0.5}, "M4 Max", "expert_hit_rate"),
        ({"expert_hit_rate": 0.5, "offload": "auto"}, "auto", "one of them"),
        ({"hardware": {"name": "RTX 3095"}}, "RTX 3095", "RTX 3090"),
        ({"hardware": {"name": 3}}, "3", "RTX 3090"),
        ({"hardware": {"memory_gib": 8, "unified": "yes"}}, "yes", ""),
        ({"hardware": {"memory_gib": 10**400}}, "memory_gib", "unknown"),
        ({"cache": None}, "NoneType", "q8_0"),
        ({"quantization": 10**400}, "file size", "bytes"),
        ({"file_bytes": "16 GB"}, "16 GB", "bytes"),
        ({"drafter": "yes"}, "yes", "acceptance"),
        ({"drafter": {"tokens": 2.5}}, "2.5", "tokens"),
        ({"drafter": {"acceptance": None}}, "None", "acceptance"),
        ({"runtime_date": "2026-13"}, "2026-13", "2026-06"),
        ({"runtime_date": "2026-02-30"}, "2026-02-30", "2026-06"),
        ({"runtime_date": 3}, "3", "2026-06"),
        ({"drafter": {"token": 3}}, "token", "tokens"),
        ({"drafter": {"acceptance": 1.2}}, "1.2", "acceptance"),
        ({"model": "Qwen3.6-35B-A3B", "drafter": True}, "Qwen3.6", "drafter"),
        ({"runtime_date": "June"}, "June", "2026"),
        ({"file_bytes": 3.0}, "3.0", "bytes"),
    ],
)
def test_bad_input_is_named_with_what_would_do(changes: dict, word: str, near: str) -> None:
    options = {"model": "26B-A4B", "hardware": "RTX 3090"} | changes
    with pytest.raises(LabError) as caught:
        plan(options.pop("model"), **options)
    assert word in caught.value.what
    assert near in caught.value.hint


def test_what_is_unknown_of_the_hardware_is_left_open() -> None:
    made = plan("12B", hardware={"memory_gib": 16})
    assert made.fits is True
    assert made.decode is None
    assert made.prompt is None
    assert made.bound is None
    with pytest.raises(LabError, match="bandwidth"):
        made.cost(on=DAY)
    blind = plan("12B", hardware={"bandwidth_gb_s": 500})
    assert blind.fits is None
    assert blind.longest_context is None
    assert blind.decode is not None
    assert "unknown" in str(blind)


def test_every_model_plans_on_every_hardware_with_every_runtime_that_runs_there() -> None:
    for hardware in hardware_names():
        kind = find_hardware(hardware).kind
        for runtime in known_runtimes().values():
            if kind not in runtime.kinds:
                continue
            for model in shapes_by_key():
                made = plan(model, hardware=hardware, runtime=runtime)
                assert made.decode is not None
                assert 0 < made.decode.low < made.decode.value < made.decode.high
                assert made.bound is not None
                assert made.decode.value < made.bound


def test_every_quantisation_plans_with_each_of_its_runtimes() -> None:
    for runtime in known_runtimes().values():
        hardware = "M4 Max" if runtime.kinds == ("metal",) else "RTX PRO 6000"
        for name in quantization_names(runtime.name):
            made = plan("26B-A4B", hardware=hardware, runtime=runtime.name, quantization=name)
            assert made.needed_bytes > 1e9


def test_a_plan_is_plain_data_and_text() -> None:
    made = plan("26B-A4B", hardware="RTX 5060 Ti", quantization="Q4_K_M", context=16_384)
    data = json.loads(json.dumps(made.to_dict()))
    assert data["fits"] is False
    assert sum(part["bytes"] for part in data["parts"] if part["place"] == "device") == pytest.approx(
        data["needed_bytes"]
    )
    assert data["nearest"][0]["source"]
    assert "does not fit" in repr(made)
    text = str(made)
    assert "expert weights" in text
    assert "<" not in made._repr_html_().split(">", 1)[0][1:]
    assert "<script" not in made._repr_html_()


def test_a_name_from_outside_is_never_markup() -> None:
    made = plan("12B", hardware={"name": "<b>card</b>", "memory_gib": 16, "bandwidth_gb_s": 400})
    assert "<b>card" not in made._repr_html_()


def test_owned_rented_and_hosted_tokens_by_hand() -> None:
    owned = Ownership(price_usd=876, power_w=300, idle_w=0, usd_per_kwh=0.2, years=1, load=0.5)
    assert owned.usd_per_working_hour == pytest.approx(876 / (8760 * 0.5) + 0.06)
    made = plan("31B", hardware="RTX PRO 6000", runtime="vLLM", quantization="fp8", batch=24, depth=2000)
    costs = {row.label: row for row in made.cost(usd_per_hour=2.75, on=DAY)}
    rented = next(row for label, row in costs.items() if label.startswith("rented"))
    speed = made.throughput
    assert speed is not None
    assert rented.usd_per_m_out == pytest.approx(2.75 / (speed.value * 3600) * 1e6)
    assert rented.low_out < rented.usd_per_m_out < rented.high_out
    haiku = next(row for label, row in costs.items() if "haiku" in label)
    assert (haiku.usd_per_m_in, haiku.usd_per_m_out) == (0.1, 0.5)


def test_the_break_even_is_where_both_cost_the_same() -> None:
    owned = Ownership(price_usd=1500, power_w=350)
    price = hosted_price("claude-haiku-4.5", on=DAY)
    tokens = break_even_tokens(price, ratio_in=4, owned=owned, prompt=3000, answer=120)
    assert tokens is not None
    kit = monthly_cost(tokens, ratio_in=4, owned=owned, prompt=3000, answer=120)
    assert kit == pytest.approx(price.cost(4 * tokens, tokens))
    slow = break_even_tokens(price, ratio_in=4, owned=owned, prompt=30, answer=0.5)
    assert slow is None


def test_costs_refuse_speeds_and_amounts_that_are_none() -> None:
    owned, price = Ownership(price_usd=1500, power_w=350), hosted_price("gpt-4o-mini", on=DAY)
    for prompt, answer, ratio in ((None, 0, 1), (0, 100, 1), (None, 100, -1), (None, float("nan"), 1)):
        with pytest.raises(LabError):
            break_even_tokens(price, ratio_in=ratio, owned=owned, prompt=prompt, answer=answer)
    with pytest.raises(LabError, match="nan"):
        monthly_cost(float("nan"), ratio_in=1, owned=owned, prompt=None, answer=100)


def test_prices_have_dates_and_end() -> None:
    assert all(price.valid_from and price.checked and price.source for price in hosted_prices(on=""))
    assert hosted_price("gpt-4o-mini", on="2026-12-31").usd_per_m_out == 0.6
    with pytest.raises(LabError, match="2027-01-14"):
        hosted_price("gpt-4o-mini", on="2027-02-01")
    assert hosted_price("gemini-3.8-flash", on="2026-12-01").usd_per_m_out == 3.75
    assert hosted_price("gemini-3.8-flash", on="2027-01-02").usd_per_m_out == 7.5
    assert hosted_price("claude-haiku-5.5", on=DAY, prompt=200_000).usd_per_m_out == 2.5
    with pytest.raises(PriceEnded, match="2026-12-01"):
        hosted_price("gemini-2.5-flash", on="2026-12-02")
    with pytest.raises(LabError, match="tomorrow"):
        hosted_price("gpt-4o-mini", on="tomorrow")
    with pytest.raises(LabError) as caught:
        hosted_price("claude-haiku-5.6", on=DAY)
    assert "claude-haiku-5.5" in caught.value.hint
    assert {find_hardware(price.hardware).label for price in rental_prices()}
    assert rental_price("H200").usd_per_hour == 5.0


def test_a_cost_names_the_models_whose_prices_have_ended() -> None:
    made = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0")
    hosted = ("gpt-5-mini", "gemma-4-31B", "gpt-4o-mini")
    assert made.cost(hosted=hosted, on="2026-12-11").notes == ()
    later = made.cost(hosted=hosted, on="2026-12-12")
    assert [note for note in later.notes if "gpt-5-mini" in note and "2026-12-11" in note] == list(
        later.notes
    )
    assert not any("gpt-5-mini" in row.label for row in later)
    for text in (str(later), later._repr_html_()):
        assert "2026-12-11" in text
        assert "2027-01-14" in text


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"usd_per_hour": -1}, "-1"),
        ({"usd_per_hour": float("nan")}, "nan"),
        ({"owned": 3}, "3"),
        ({"owned": {"load": 0}}, "load"),
        ({"owned": {"power_w": float("nan")}}, "power_w"),
        ({"owned": {"prize": 3}}, "prize"),
        ({"hosted": [3]}, "3"),
        ({"hosted": "gpt-9"}, "gpt-9"),
        ({"on": "tomorrow"}, "tomorrow"),
    ],
)
def test_bad_input_of_a_cost_is_named(options: dict, word: str) -> None:
    made = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0")
    with pytest.raises(LabError, match=word):
        made.cost(**{"on": DAY, **options})


def test_hardware_that_says_less_has_a_wider_interval() -> None:
    def spread(**changes) -> float:
        fields = {"kind": "cuda", "memory_gib": 24, "bandwidth_gb_s": 936, "tensor_tflops": 71, **changes}
        given = {name: value for name, value in fields.items() if value is not None}
        made = plan("26B-A4B", hardware=given, quantization="Q4_0").decode
        assert made is not None
        return made.high / made.low

    base = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0").decode
    assert spread() == pytest.approx(base.high / base.low)
    assert spread(kind=None) > spread()
    assert spread(tensor_tflops=None) > spread()
    assert (
        spread(bandwidth_gb_s=8000, tensor_tflops=2000)
        > spread(bandwidth_gb_s=3350, tensor_tflops=990)
        > spread()
    )
    assert spread(bandwidth_gb_s=1792) == spread()


def test_a_mapping_takes_the_rest_of_a_known_name() -> None:
    mine = find_hardware({"name": "M4 Max", "memory_gib": 128, "bandwidth_gb_s": 546})
    assert (mine.kind, mine.unified, mine.memory_gib) == ("metal", True, 128)
    apple = find_hardware({"kind": "metal", "memory_gib": 32})
    assert apple.unified
    assert apple.usable_bytes == pytest.approx(0.75 * 32 * 2**30)
    pair = find_hardware("2x DGX Spark")
    assert pair.usable_bytes == pytest.approx(2 * find_hardware("DGX Spark").usable_bytes)


def test_what_lies_in_main_memory_makes_room_to_the_byte() -> None:
    made = plan(
        "Qwen3.6-35B-A3B", hardware="RTX 5080", quantization="Q4_K_M", context=131_072, offload="auto"
    )
    assert made.fits is True
    assert set(made.spilled) == {"experts"}


def test_current_prices_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingExtra, match="genai-prices"):
        hosted_prices(live=True, on=DAY)


def test_current_prices_of_the_release_that_was_read_equal_the_shipped_ones() -> None:
    pytest.importorskip("genai_prices", reason="the extra prices is not installed")
    shipped = {(price.label, price.prompt_above): price for price in hosted_prices(on=DAY)}
    current = [
        price for price in hosted_prices(on=DAY, live=True) if price.source.startswith("genai-prices,")
    ]
    assert len(current) >= 5
    for price in current:
        assert price.usd_per_m_in > 0
        if metadata.version("genai-prices") == "0.2.3":
            was = shipped[price.label, price.prompt_above]
            expected = (was.usd_per_m_in, was.usd_per_m_out)
            assert (price.usd_per_m_in, price.usd_per_m_out) == pytest.approx(expected), price.label


def test_licences_answer_the_same_questions() -> None:
    rows = licences()
    assert len({tuple(row.answers) for row in rows}) == 1
    gemma = next(row for row in rows if "Gemma 4" in row.models[0])
    assert gemma.name == "Apache-2.0"
    assert all(row.url.startswith("https://") and row.source for row in rows)
    assert "Gemma Terms of Use" in str(rows)
    assert "<table" in rows._repr_html_()


def test_the_shipped_facts_name_known_things() -> None:
    for row in read_rows("measured_runs.csv"):
        find_hardware(row["hardware"])
    for row in read_rows("hardware.csv"):
        assert row["source"]
        assert row["kind"] in ("cuda", "rocm", "metal", "sycl", "cpu")
    for draft in published_drafts():
        find_hardware(draft["hardware"])
        assert draft["source"]


def run(*arguments: str):
    app = typer.Typer()
    app.command()(plan_command)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_line_prints_a_table_or_json() -> None:
    shown = run("26B-A4B", "RTX 3090", "--context", "32768", "--cost")
    assert shown.exit_code == 0, shown.output
    assert "longest context" in shown.output
    assert "US dollars for a million tokens" in shown.output
    data = json.loads(run("26B-A4B", "RTX 3090", "-q", "Q4_0", "--json").output)
    assert data["quantization"] == "Q4_0"
    assert data["decode"]["low"] < data["decode"]["value"]
    assert isinstance(run("26B-A4B", "RTX 3095").exception, LabError)


def test_planning_loads_no_torch_and_no_numpy() -> None:
    program = (
        "import sys; from gemma_lab.planning.planner import plan; str(plan('26B-A4B', hardware='RTX 3090'));"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
