"""Rows go through the model with rows of similar length, and those to look something up under a window."""

from __future__ import annotations

from gemma_lab.minis.curriculum import ROW
from gemma_lab.minis.encoding import Row
from gemma_lab.minis.row_groups import by_length, by_window


def _row(skill, length):
    return Row(skill, [0] * length, [0] * length)


def test_long_rows_do_not_pad_short_ones():
    rows = [_row("recall", length) for length in (10, 2 * ROW, 200, 201, ROW, ROW + 1)]
    parts = by_length(rows)
    assert [sorted(len(row.ids) for row in part) for part in parts] == [
        [10, 200], [ROW + 1, 2 * ROW], [201, ROW],
    ]  # fmt: skip


def test_only_rows_with_something_to_look_up_get_the_window():
    far, near = _row("recall", 5), _row("digits", 5)
    assert by_window([far, near], None) == [([far, near], None)]
    assert by_window([far, near], 24) == [([far], 24), ([near], None)]
    assert by_window([near], 24) == [([near], None)]
