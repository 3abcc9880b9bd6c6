"""The page shows every result once, in the order of the rows, and says what was not measured and why."""

from __future__ import annotations

import pytest

from tools.bench.results import Outcome, Result
from tools.bench.rows import ROWS
from tools.bench.table import number, page

HERE = "2 cores (a processor), 24.0 GiB RAM"
FAST = Result(
    "attention-time", 1.31, "≤ 1.5", "×", "mini | one thread", case="4,096 tokens",
    rivals={"HF eager": "7.9 ×", "nnterp": "8.1 ×"}, machine=HERE, date="2026-11-24", test="t.py::a",
)  # fmt: skip


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| ")]


def test_a_result_is_one_row_with_target_rivals_date_and_machine():
    _, row = rows(page([FAST]))
    assert row == (
        "| attention capture ÷ SDPA prefill: time | 4,096 tokens | 1.31 × | ≤ 1.5 × | holds "
        "| HF eager 7.9 ×; nnterp 8.1 × | mini \\| one thread | 2026-11-24 [1] |"
    )
    assert f"1. {HERE}" in page([FAST])


def test_a_missed_target_is_said():
    missed = Result("chat-speed", 0.9, "≥ 0.95", "×", machine=HERE)
    assert "**missed**" in rows(page([missed]))[1]


def test_rows_come_in_the_order_of_the_design_and_names_of_their_own_last():
    own = Result("something else", 3.0, machine=HERE)
    text = page([own, Result("import-time", 0.1, machine=HERE), FAST])
    assert [row.split("|")[1].strip() for row in rows(text)[1:]] == [
        "attention capture ÷ SDPA prefill: time", "import gemma_lab, without torch", "something else",
    ]  # fmt: skip


def test_machines_are_numbered():
    text = page([FAST, Result("chat-speed", 1.0, machine="another", date="2026-11-23")])
    assert "1. 2 cores" in text
    assert "2. another" in text
    assert "2026-11-23 [2]" in text


def test_a_busy_machine_is_said():
    busy = Result("chat-speed", 1.0, machine=HERE, date="2026-11-24", load=12.5)
    assert "| 2026-11-24 [1], load 12.5 |" in page([busy])


def test_what_was_not_measured_is_listed_with_the_reason():
    skipped = Outcome("tests/benchmarks/test_chat_speed.py::test_x", "skipped", "no weights", "2026-11-24")
    text = page([FAST], [skipped])
    missing = text.partition("## Not measured")[2]
    assert "`test_chat_speed` skipped: no weights" in missing
    assert "`test_import_time` was not run" in missing
    assert missing.count("(target ") == len(ROWS) - 1
    assert "peak memory" in missing
    assert "capture ÷ SDPA prefill: time" not in missing


def test_what_failed_is_listed():
    failed = Outcome("tests/benchmarks/test_x.py::test_y", "failed", "AssertionError: 2 > 1", "2026-11-24")
    assert "- `test_x.py test_y`: AssertionError: 2 > 1 (2026-11-24)" in page([FAST], [failed])


@pytest.mark.parametrize(
    ("value", "text"),
    [(131072, "131,072"), (1.3149, "1.31"), (0.000003, "3e-06"), (1234.5, "1,234"), (0, "0")]
)  # fmt: skip
def test_numbers_are_readable(value, text):
    assert number(value) == text


def test_keys_are_unique():
    assert len({row.key for row in ROWS}) == len(ROWS)
