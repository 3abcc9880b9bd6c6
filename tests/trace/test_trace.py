"""A trace: its parts belong together, it equals itself whatever the clock says, and becomes tables."""

from __future__ import annotations

import dataclasses

import duckdb
import numpy as np
import pytest
from support.routing_traces import arabic_trace, picture_trace, sound_trace

from gemma_lab.errors import BadTrace


def test_the_repr_is_one_line_without_timings():
    trace = picture_trace()
    assert repr(trace) == "Trace(mini-moe: 215 tokens (192 of media), 6 MoE layers, 5 generated)"
    later = dataclasses.replace(trace, timings={"total_s": 3.0}, meta={"model": "a\nb"})
    assert repr(later).startswith("Trace(a b: ")
    assert "3.0" not in repr(later)
    assert len(trace) == 215


def test_equality_leaves_out_timings_and_pixels():
    trace = picture_trace()
    assert trace.equal(picture_trace())
    assert trace.equal(dataclasses.replace(trace, timings={"total_s": 3.0}, images=()))
    assert not trace.equal(dataclasses.replace(trace, routing=None))
    assert not trace.equal(dataclasses.replace(trace, generation=None))
    assert not trace.equal(dataclasses.replace(trace, meta={"model": "another"}))
    assert not trace.equal(picture_trace(seed=1))
    assert not trace.equal(arabic_trace())


def test_meta_is_compared_as_a_file_keeps_it():
    trace = arabic_trace(meta={"edit": {4: (17, 90)}})
    assert trace.equal(arabic_trace(meta={"edit": {"4": [17, 90]}}))


def test_parts_of_two_runs_are_refused():
    one, other = picture_trace(), arabic_trace()
    with pytest.raises(BadTrace, match="39 tokens, the token table 215"):
        dataclasses.replace(one, routing=other.routing)
    with pytest.raises(BadTrace, match="5 generated rows"):
        dataclasses.replace(one, generation=other.generation)


def test_the_routing_table_has_one_row_an_expert_chosen():
    trace = picture_trace(layers=2)
    table = trace.to_arrow()["routing"]
    assert table.column_names == ["layer", "token", "rank", "expert", "weight"]
    assert table.num_rows == 2 * 215 * 8
    frame = table.to_pandas()
    row = frame[(frame.layer == 1) & (frame.token == 200) & (frame["rank"] == 3)].iloc[0]
    assert row.expert == trace.routing.ids[1, 200, 3]
    assert row.weight == trace.routing.weights[1, 200, 3]
    assert np.array_equal(frame.weight.to_numpy(), trace.routing.weights.reshape(-1))


def test_duckdb_joins_the_tables():
    trace = picture_trace(layers=2)
    database = duckdb.connect()
    for name, table in trace.to_arrow().items():
        database.register(name, table)
    seen = database.sql(
        "SELECT modality, sum(weight) AS mass FROM routing JOIN tokens USING (token) GROUP BY 1"
    ).fetchall()
    of_pictures = trace.routing.weights[:, trace.tokens.modalities == "image"].sum()
    assert dict(seen)["image"] == pytest.approx(of_pictures, rel=1e-5)
    said = database.sql(
        "SELECT t.text, g.logprob, a.id FROM generation g JOIN tokens t USING (token) "
        "JOIN top_logprobs a ON a.position = g.position AND a.rank = 0 ORDER BY g.position"
    ).fetchall()
    assert "".join(text for text, *_ in said).strip().startswith(trace.generation.text[:5])


def test_the_token_that_was_never_read_has_no_row():
    trace = picture_trace()
    tokens = trace.tokens.select(slice(0, 214))
    shorter = dataclasses.replace(trace, tokens=tokens, routing=trace.routing.select(slice(0, 214)))
    rows = shorter.to_arrow()["generation"].column("token").to_pylist()
    assert rows == [210, 211, 212, 213, -1]


def test_pandas_gets_every_table():
    frames = sound_trace().to_pandas()
    assert list(frames) == ["tokens", "routing", "generation", "top_logprobs"]
    assert (frames["tokens"].token == np.arange(len(frames["tokens"]))).all()
    assert {"text", "audio", "video", "special"} == set(frames["tokens"].modality)


def test_what_a_trace_lacks_has_no_table():
    bare = dataclasses.replace(picture_trace(), routing=None, generation=None)
    assert list(bare.to_arrow()) == ["tokens"]
    assert repr(bare) == "Trace(mini-moe: 215 tokens (192 of media))"


def test_parquet_files_are_read_where_they_lie(tmp_path):
    trace = picture_trace(layers=3)
    paths = trace.to_parquet(tmp_path / "new" / "tables")
    assert sorted(path.name for path in paths) == sorted(
        f"{name}.parquet" for name in ("tokens", "generation", "top_logprobs", "routing")
    )
    counts = duckdb.sql(
        f"SELECT layer, expert, count(*) FROM '{tmp_path}/new/tables/routing.parquet' GROUP BY ALL"
    ).fetchall()
    for layer, expert, count in counts:
        assert count == (trace.routing.layer(layer).ids == expert).sum()
    assert sum(count for *_, count in counts) == 3 * 215 * 8
