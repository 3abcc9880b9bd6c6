"""The benchmark table: figures as published, directions, footnotes, sources."""

from __future__ import annotations

import json

from gemma_lab.family.published import MODELS, published


def test_figures_are_kept_as_they_were_published() -> None:
    rows = {row.name: row for row in published()}
    assert rows["MMLU Pro"].figures["E2B"] == "60.0"
    assert rows["OmniDocBench 1.5"].figures["E2B"] == "0.290"
    assert rows["Codeforces"].scores == {
        "E2B": 633, "E4B": 940, "12B": 1659, "26B-A4B": 1718, "31B": 2150, "Gemma 3 27B": 110
    }  # fmt: skip
    assert rows["AIME 2026, no tools"].scores["26B-A4B"] == 88.3


def test_the_31b_leads_wherever_it_was_measured() -> None:
    """True of the published table, and a check of the directions: one wrong arrow would break it."""
    for row in published():
        if "31B" in row.scores:
            assert row.best == "31B", row


def test_missing_figures_are_missing() -> None:
    rows = {row.name: row for row in published()}
    assert rows["FLEURS"].shown("31B") == "–"
    assert "31B" not in rows["FLEURS"].scores
    assert rows["FLEURS"].shown("12B") == "0.069*"
    assert rows["FLEURS"].best == "12B"


def test_percentages_are_percentages() -> None:
    for row in published():
        assert set(row.figures) == set(MODELS)
        if row.unit == "%":
            assert all(0 < score < 100 for score in row.scores.values())


def test_every_footnote_mark_is_explained() -> None:
    data = published()
    for mark in {mark for row in data for mark in row.marks.values()}:
        assert any(note.startswith(mark) for note in data.notes)


def test_repr_data_and_sources() -> None:
    data = published()
    assert repr(data) == "Published(17 benchmarks, 6 models, 88 figures)"
    plain = json.loads(json.dumps(data.to_dict()))
    assert len(plain["benchmarks"]) == len(data)
    assert all(entry["url"].startswith("https://") for entry in plain["sources"])
    assert repr(data[0]).startswith("Benchmark(MMLU Pro ↑ %: E2B 60.0, E4B 69.4")


def test_the_table_has_the_sources_and_marks_the_best() -> None:
    text = published()._repr_html_()
    assert "<strong>85.2</strong>" in text
    assert "ai.google.dev" in text
    assert "OmniDocBench 1.5 ↓" in text
