"""An attention in a trace file: the same again, described, and nothing else accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from support.forged import forge, members, refused, restate
from support.made_attention import made_up
from support.routing_traces import picture_trace

import gemma_lab as gl
from gemma_lab.trace.storage import tensors

DOCS = Path(__file__).parents[3] / "docs" / "trace-format.md"


@pytest.fixture(scope="module")
def looked():
    trace = picture_trace(layers=2, experts=16, top_k=3)
    return replace(trace, attention=made_up(tokens=len(trace)))


@pytest.fixture
def kept(looked, tmp_path):
    return looked.save(tmp_path / "a.trace")


@pytest.mark.parametrize("small", [np.float16, np.float32])
def test_it_comes_back_as_it_was(looked, tmp_path, small):
    trace = replace(looked, attention=made_up(tokens=len(looked), small=small))
    opened = gl.open_trace(trace.save(tmp_path / "a.trace"))
    assert opened.equal(trace)
    assert opened.attention.equal(trace.attention)
    assert repr(opened.attention) == repr(trace.attention)
    assert (tmp_path / "a.trace").read_bytes() == opened.save(tmp_path / "b.trace").read_bytes()


def test_parts_that_were_not_asked_for_are_not_there(looked, tmp_path):
    bare = replace(
        looked.attention, bands={}, bins_before={}, per_query={}, towers={}, labels=(), full_rows={}
    )
    trace = replace(looked, attention=bare)
    assert gl.open_trace(trace.save(tmp_path / "a.trace")).equal(trace)


def test_large_arrays_stay_in_the_file(kept, looked, monkeypatch):
    monkeypatch.setattr(tensors, "IN_MEMORY", 1000)
    opened = gl.open_trace(kept)
    assert isinstance(opened.attention.per_query["keys"].base, np.memmap)
    assert opened.equal(looked)


def test_safetensors_reads_it_and_the_docs_describe_it(kept, looked):
    read = safetensors.numpy.load(members(kept)["attention.safetensors"])
    np.testing.assert_array_equal(read["attention.keys"], looked.attention.per_query["keys"])
    text = DOCS.read_text(encoding="utf-8")
    for name in read:
        assert f"`{name}`" in text or name.startswith("attention.pooled."), name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda e: e.update(heads=[]), "heads"),
        (lambda e: e.update(heads="01"), "heads"),
        (lambda e: e["bin_edges"].append(10**9), "bin_edges"),
        (lambda e: e.update(bin_edges=list(range(300))), "bin_edges"),
        (lambda e: e.update(top_k=True), "top_k"),
        (lambda e: e.update(top_k=65), "top_k"),
        (lambda e: e.pop("pooled"), "pooled"),
        (lambda e: e.update(labels=[1, 2]), "labels"),
        (lambda e: e.update(labels=["a", "a"]), "labels"),
        (lambda e: e.update(pooled=[]), "pooled"),
        (lambda e: e["full_rows"].append({"layer": 3, "query": 0, "first_key": 0}), "keys"),
        (lambda e: e["full_rows"].append({"layer": 3, "query": -1, "first_key": 0, "keys": 1}), "query"),
        (lambda e: e["full_rows"].append(e["full_rows"][0]), "full_rows"),
        (lambda e: e.update(towers={"smell": []}), "towers"),
        (lambda e: e.update(statistics="half"), "statistics"),
        (lambda e: e["layers"][0].update(kind="nearby"), "kind"),
        (lambda e: e["layers"][0].update(window=None), "window"),
        (lambda e: e["layers"][0].update(layer=10**30), "layer"),
        (lambda e: e["layers"][0].update(k_eq_v=1), "k_eq_v"),
        (lambda e: e["layers"][0].pop("kv_shared_from"), "kv_shared_from"),
        (lambda e: e.clear(), "layers"),
        (lambda e: e.update(more=1), "more"),
        (lambda e: e["layers"][0].update(heads=-4), "heads"),
    ],
)
def test_the_field_that_no_attention_has_is_named(kept, change, named):
    restate(kept, lambda manifest: change(manifest["attention"]))
    refused(kept, named)


def test_huge_claims_are_refused_by_the_size_of_the_member(kept):
    restate(kept, lambda m: m["attention"].update(heads=list(range(60_000)), top_k=64))
    refused(kept, "takes [0-9,]+ bytes and attention.safetensors has")


def test_numbers_that_no_attention_gives_are_refused(kept):
    def change(contents):
        data = bytearray(contents["attention.safetensors"])
        data[-40:] = b"\xff" * 40  # the last statistics become NaN
        contents["attention.safetensors"] = bytes(data)

    forge(kept, change)
    refused(kept, "attention is not sound")


def test_a_member_without_use_is_refused(kept):
    restate(kept, lambda manifest: manifest.update(attention=None))
    refused(kept, "attention.safetensors, for which its manifest has no use")


def test_top_keys_are_a_table(looked, tmp_path):
    table = looked.to_arrow()["attention"].to_pandas()
    keys, weights = looked.attention.top_keys(7)
    one = table[(table.layer == 7) & (table["head"] == 2) & (table.token == 15)]
    assert one.key.tolist() == keys[1, 15].tolist()
    np.testing.assert_array_equal(one.weight, weights[1, 15])
    assert (table.key >= 0).all()
    names = {path.name for path in looked.to_parquet(tmp_path)}
    assert "attention.parquet" in names
