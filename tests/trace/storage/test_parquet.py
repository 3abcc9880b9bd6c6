"""The tables of a trace file: read when they are plain, refused when they are not what a trace has."""

from __future__ import annotations

import dataclasses
import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.forged import forge, members, refused, restate, sealed, zipped

from gemma_lab.errors import BadTrace
from gemma_lab.trace.storage import parquet
from gemma_lab.trace.trace import open_trace


def retable(path, name, change, **options):
    """Replace a table of a trace file; `options` go to pyarrow."""

    def rewrite(contents):
        member = parquet.member_of(name)
        sink = io.BytesIO()
        plain = {
            "compression": "none",
            "store_schema": False,
            "write_statistics": False,
            "use_dictionary": False,
        }
        pq.write_table(change(pq.read_table(io.BytesIO(contents[member]))), sink, **plain | options)
        contents[member] = sink.getvalue()

    return forge(path, rewrite)


def setting(name, column, value, at=0):
    """Return a change of one cell."""

    def change(table):
        values = table.column(column).to_pylist()
        values[at] = value
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.array(values, table.schema.field(column).type))

    return change


def test_a_table_written_by_others_but_plain_is_read(saved, trace):
    retable(saved, "tokens", lambda table: table, write_statistics=True, write_page_index=True)
    assert open_trace(saved).equal(trace)


@pytest.mark.parametrize("column", ["id", "text", "generated", "token"])
def test_a_missing_column_is_named(column, saved):
    retable(saved, "tokens", lambda table: table.drop_columns([column]))
    refused(saved, f"no column .*{column}")


@pytest.mark.parametrize(
    ("name", "change", "options", "said"),
    [
        ("tokens", lambda t: t.append_column("more", t.column("id")), {}, "other columns"),
        ("tokens", lambda t: t.slice(1), {}, "214 rows, not 215"),
        ("tokens", lambda t: t.cast(t.schema.set(1, pa.field("id", pa.int64()))), {}, "'id' is int64"),
        ("tokens", lambda t: t, {"compression": "zstd"}, "compressed"),
        ("tokens", lambda t: t, {"compression": "snappy"}, "compressed"),
        ("tokens", lambda t: t, {"store_schema": True}, "key-value"),
        ("tokens", setting("tokens", "text", None), {}, "empty"),
        ("tokens", setting("tokens", "start", 5, at=3), {}, "contradicts itself"),
        ("tokens", setting("tokens", "role", "evil"), {}, "contradicts itself"),
        ("tokens", setting("tokens", "modality", "smell"), {}, "contradicts itself"),
        ("tokens", setting("tokens", "id", -1), {}, "negative"),
        ("tokens", setting("tokens", "x0", -5, at=20), {}, "box"),
        ("tokens", setting("tokens", "x1", 0, at=20), {}, "box"),
        ("tokens", setting("tokens", "t0_ms", -7), {}, "time"),
        ("tokens", setting("tokens", "media_index", -3), {}, "media index"),
        ("tokens", setting("tokens", "cluster", 99), {}, "cluster"),
        ("generation", setting("generation", "logprob", float("-inf")), {}, "-inf"),
        ("top_logprobs", setting("top_logprobs", "id", -4), {}, "negative"),
        ("tokens", setting("tokens", "token", 9), {}, "not in order"),
        ("tokens", setting("tokens", "id", 9, at=-1), {}, "generated rows"),
        ("generation", setting("generation", "logprob", float("nan")), {}, "log-probabilities"),
        ("generation", setting("generation", "logprob", 1.0), {}, "log-probabilities"),
        ("generation", setting("generation", "entropy", -2.0), {}, "entropies"),
        ("generation", setting("generation", "position", 3), {}, "not in order"),
        ("generation", setting("generation", "token", 3), {}, "not in order"),
        ("generation", setting("generation", "id", 9999), {}, "generated rows"),
        ("top_logprobs", setting("top_logprobs", "rank", 1), {}, "not in order"),
        ("top_logprobs", lambda t: t.slice(0, 3), {}, "3 rows"),
    ],
)
def test_a_table_that_no_trace_has_is_refused(name, change, options, said, saved):
    retable(saved, name, change, **options)
    with pytest.raises(BadTrace, match=said):
        open_trace(saved)


def test_a_few_bytes_cannot_stand_for_gigabytes_of_text(saved, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_TEXT", 1_000_000)

    def swell(table):
        texts = ["x" * 10_000] * table.num_rows
        return table.set_column(table.column_names.index("piece"), "piece", pa.array(texts))

    retable(saved, "tokens", swell, use_dictionary=["piece"])
    assert saved.stat().st_size < 100_000
    refused(saved, "2,150,000 bytes of text")


def test_rows_that_the_table_has_no_bytes_for_are_refused(trace, tmp_path):
    rows = 50_000
    path = dataclasses.replace(trace, routing=None, generation=None).save(tmp_path / "a.trace")

    def swell(table):
        return pa.table({name: pa.array([table.column(name)[0].as_py()] * rows, table.schema.field(name).type)
                         for name in table.column_names})  # fmt: skip

    retable(path, "tokens", swell, use_dictionary=True)
    restate(path, lambda m: m.update(tokens=rows))
    assert path.stat().st_size < 4 * rows
    refused(path, "cannot hold 50,000 rows")


@pytest.mark.parametrize("seed", range(2))
def test_forged_tables_and_arrays_open_or_are_refused(seed, saved):
    """Whatever Arrow, Pillow and numpy make of it, no other error and no crash comes out."""
    contents, places = members(saved), random.Random(seed)
    names = [name for name in contents if name != "manifest.json"]
    for _ in range(100):
        name = places.choice(names)
        data = bytearray(contents[name])
        for _ in range(places.choice((1, 2, 8))):
            tail = places.random() < 0.5  # where Parquet has its footer
            data[
                len(data) - 1 - places.randrange(min(len(data), 1500))
                if tail
                else places.randrange(len(data))
            ] = places.randrange(256)
        saved.write_bytes(zipped(sealed({**contents, name: bytes(data)})))
        try:
            open_trace(saved).to_arrow()
        except BadTrace:
            continue
