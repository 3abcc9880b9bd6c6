"""The documentation's figures are those that the shipped runs and constants give."""

from __future__ import annotations

import pytest

from gemma_lab.planning.cost import break_even_tokens
from gemma_lab.planning.drafting import published_drafts
from gemma_lab.planning.facts import read_facts, read_rows
from gemma_lab.planning.planner import plan
from gemma_lab.planning.prices import hosted_price
from tools.planning.report import END, PAGE, START, tables

T4 = {row["id"] for row in read_rows("measured_runs.csv") if row["hardware"] == "T4"}


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_error_tables_are_current() -> None:
    section = text().split(START)[1].split(END)[0].strip()
    assert section == tables()


def test_the_errors_in_words_are_those_in_the_file() -> None:
    decode, prompt = read_facts("errors.json")["decode"], read_facts("errors.json")["prompt"]
    words = " ".join(text().split())
    assert f"median {decode['median']:.1%}".replace("%", " %") in words
    assert f"90th percentile {decode['p90']:.1%}".replace("%", " %") in words
    assert f"{decode['settings']} settings on {decode['cards']} kinds of hardware" in words
    assert f"median {prompt['median']:.0%}".replace("%", " %") in words
    assert f"{len(read_rows('measured_runs.csv'))} runs" in words
    assert f"{len(read_rows('allocations.csv'))} figures" in words
    assert f"the intervals hold {decode['coverage']:.0%}".replace("%", " %") in words
    weakest = next(row for row in read_facts("errors.json")["rows"] if row["ids"][0] in T4)
    assert f"T4: {weakest['left_out'] / weakest['measured'] - 1:.0%}".replace("%", " %") in words
    least, most = read_facts("constants.json")["bandwidth_gb_s"]
    assert f"{least:,.0f} to {most:,.0f} GB/s" in words


def test_the_break_even_in_words_is_what_the_planner_says() -> None:
    made = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0")
    owned = made.ownership()
    assert owned is not None
    assert owned.price_usd == 1500
    assert made.prompt is not None
    assert made.decode is not None
    price = hosted_price("claude-haiku-5.5", on="2026-11-29")
    tokens = break_even_tokens(
        price, ratio_in=4, owned=owned, prompt=made.prompt.value, answer=made.decode.value
    )
    assert tokens is not None
    assert f"from some {round(tokens / 1e7) * 10} million tokens of answers a month" in " ".join(
        text().split()
    )


def test_the_predictions_by_hand_are_what_the_planner_says() -> None:
    first = plan("26B-A4B", hardware="RTX 3090", quantization="Q4_0", runtime_date="2026-07", depth=0)
    second = plan("31B", hardware="RTX PRO 6000", quantization="bf16", runtime="vLLM", depth=1100)
    third = plan(
        "31B",
        hardware="2x RTX 5060 Ti",
        quantization="qat",
        runtime_date="2026-07",
        context=131_072,
        depth=131_072,
    )
    for made, said in ((first, "148"), (second, "24.5"), (third, "12.2")):
        assert made.decode is not None
        digits = 0 if "." not in said else 1
        assert f"{made.decode.value:.{digits}f}" == said
        assert f"**{said} tokens/s**" in text()


_FORMATS = {"fp8": "fp8", "w4a16": "w4a16", "Q8_0": "Q8_0", "QAT": "qat"}


def test_the_drafted_runs_are_what_was_published_and_what_the_planner_says() -> None:
    page = (PAGE.parent / "drafting.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.count("|") == 7 and line.rstrip("| ").endswith("×")
    ]
    assert len(rows) == 6
    for model, where, drafts, acceptance, published, planned in rows:
        (size, form), (hardware, runtime) = model.split(" "), where.rsplit(", ", 1)
        run = next(
            each
            for each in published_drafts()
            if (each["model"], each["hardware"], each["draft_tokens"]) == (size, hardware, float(drafts))
        )
        gain = run["drafted_tok_s"] / run["plain_tok_s"]
        assert float(published.rstrip(" ×")) == pytest.approx(gain, abs=0.006)
        options = {"hardware": hardware, "quantization": _FORMATS[form], "runtime": runtime}
        given = "taken" not in acceptance
        assert not given or float(acceptance) == pytest.approx(run["acceptance"], abs=0.006)
        drafter = {"tokens": int(drafts)} | ({"acceptance": run["acceptance"]} if given else {})
        plain, drafted = plan(size, **options), plan(size, **options, drafter=drafter)
        assert plain.decode is not None
        assert drafted.decode is not None
        ratio = drafted.decode.value / plain.decode.value
        assert float(planned.rstrip(" ×")) == pytest.approx(ratio, abs=0.006)
