"""The trace file: what is saved opens equal without torch; parts that contradict each other are refused."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from PIL import Image
from support.forged import forge, members, refused, restate
from support.routing_traces import (
    arabic_trace,
    hostile_trace,
    made_trace,
    picture_trace,
    row,
    sound_trace,
    words,
)

import gemma_lab
from gemma_lab.errors import LabError
from gemma_lab.trace.records.routing import Routing
from gemma_lab.trace.storage import tensors, trace_file
from gemma_lab.trace.storage.arrow_tables import ALTERNATIVES, GENERATION, TOKENS
from gemma_lab.trace.trace import open_trace

SHAPE = {"layers": 2, "experts": 16, "top_k": 3}


@pytest.mark.parametrize("make", [arabic_trace, picture_trace, sound_trace, hostile_trace])
@pytest.mark.parametrize("precision", ["compact", "full"])
def test_every_trace_opens_equal(make, precision, tmp_path):
    trace = make(**SHAPE)
    old = trace.routing
    routing = Routing.of(
        old.ids,
        old.gate_weights,
        scale=old.scale,
        entropy=old.entropy,
        expert_output_fraction=old.expert_output_fraction,
        layers=(3, 7),
        experts=old.experts,
        precision=precision,
    )
    trace = dataclasses.replace(trace, routing=routing, timings={"total_s": 1.5})
    read = open_trace(trace.save(tmp_path / "a.trace"))
    assert read.equal(trace)
    assert trace.equal(read)
    assert read.timings == {"total_s": 1.5}
    assert read.routing == routing
    assert np.array_equal(read.routing.weights, routing.weights)
    assert repr(read) == repr(trace)
    assert read._repr_html_() == dataclasses.replace(trace, images=())._repr_html_()


@pytest.mark.parametrize("lacking", [("routing",), ("generation",), ("routing", "generation")])
def test_what_a_trace_lacks_its_file_lacks(lacking, trace, tmp_path):
    some = dataclasses.replace(trace, **dict.fromkeys(lacking))
    read = open_trace(some.save(tmp_path / "a.trace"))
    assert read.equal(some)
    assert all(getattr(read, name) is None for name in lacking)


def test_an_empty_trace_is_one_too(tmp_path):
    empty = made_trace([row("x")], **SHAPE)
    empty = dataclasses.replace(
        empty, tokens=empty.tokens.select(slice(0, 0)), routing=empty.routing.select(slice(0, 0))
    )
    assert open_trace(empty.save(tmp_path / "a.trace")).equal(empty)


def test_more_than_256_experts_take_two_bytes_an_id(tmp_path):
    trace = arabic_trace(layers=2, experts=300, top_k=5)
    read = open_trace(trace.save(tmp_path / "a.trace"))
    assert read.equal(trace)
    assert read.routing.ids.dtype.itemsize == 2


def test_pictures_are_kept_only_when_asked_for(trace, tmp_path):
    assert open_trace(trace.save(tmp_path / "without.trace")).images == ()
    read = open_trace(trace.save(tmp_path / "with.trace", images=True))
    assert [image.tobytes() for image in read.images] == [image.tobytes() for image in trace.images]


def test_a_picture_leaves_its_own_metadata_behind(trace, tmp_path):
    image = trace.images[0].copy()
    image.info["comment"] = "taken at home"
    path = dataclasses.replace(trace, images=(image,)).save(tmp_path / "a.trace", images=True)
    assert b"taken at home" not in path.read_bytes()


def test_the_same_trace_gives_the_same_bytes(trace, tmp_path):
    one, two = (trace.save(tmp_path / name, images=True).read_bytes() for name in ("1", "2"))
    assert one == two


def test_a_long_trace_stays_in_its_file(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "IN_MEMORY", 1000)
    read = open_trace(trace.save(tmp_path / "a.trace"))
    for name in ("ids", "stored_gate_weights", "entropy", "expert_output_fraction", "scale"):
        array = getattr(read.routing, name)
        assert isinstance(array, np.memmap)
        assert array.flags.aligned
    assert read.equal(trace)
    again = read.save(tmp_path / "b.trace")
    assert again.read_bytes() == (tmp_path / "a.trace").read_bytes()


def test_arrays_cannot_be_changed_by_mistake(saved):
    with pytest.raises(ValueError, match="read-only"):
        open_trace(saved).routing.ids[0, 0, 0] = 1


def test_a_trace_is_saved_over_the_file_it_lies_in(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(tensors, "IN_MEMORY", 1000)
    path = trace.save(tmp_path / "a.trace")
    open_trace(path).save(path)
    assert open_trace(path).equal(trace)


def test_saving_a_long_trace_takes_no_second_copy_of_it(tmp_path):
    program = f"""
import resource, numpy as np
from support.routing_traces import made_trace, row
import dataclasses
from gemma_lab.trace.records.routing import Routing
tokens, layers = 10_000, 60
trace = made_trace([row("x")] * tokens, layers=1, experts=8, top_k=2)
ids = np.broadcast_to(np.arange(64, dtype=np.uint8), (layers, tokens, 64))
routing = Routing(ids=ids.copy(), stored_gate_weights=np.ones((layers, tokens, 64), np.uint16),
    scale=np.ones((layers, 64), np.float32), entropy=np.ones((layers, tokens), np.float16),
    expert_output_fraction=np.ones((layers, tokens), np.float16), layers=tuple(range(layers)), experts=64)
trace = dataclasses.replace(trace, routing=routing)
dataclasses.replace(trace, routing=None).save({str(tmp_path / "warm")!r})  # pyarrow's own memory
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path = trace.save({str(tmp_path / "big")!r})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, routing.nbytes // 1024)
"""
    grown, held = map(int, run(program).split())
    assert held > 95_000
    assert grown < held / 10


def run(program: str) -> str:
    paths = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_opens_without_torch_and_transformers(saved):
    program = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # importing them fails
import gemma_lab as gl
trace = gl.open_trace({str(saved)!r})
trace.to_pandas(), trace.routing.weights, trace._repr_html_()
print(trace)
"""
    assert run(program) == "Trace(mini-moe: 215 tokens (192 of media), 2 MoE layers, 5 generated)\n"


def test_open_trace_is_public(saved, trace):
    assert gemma_lab.open_trace(str(saved)).equal(trace)


# ── others read it ───────────────────────────────────────────────────────────────────────────────────


def test_pandas_and_duckdb_read_its_tables(saved, trace, tmp_path):
    with zipfile.ZipFile(saved) as archive:
        frame = pd.read_parquet(io.BytesIO(archive.read("tables/tokens.parquet")))
        archive.extract("tables/generation.parquet", tmp_path)
        archive.extract("tables/tokens.parquet", tmp_path)
    assert frame.text.tolist() == trace.tokens.texts.tolist()
    assert frame.x1.tolist() == trace.tokens.boxes[:, 2].tolist()
    rows = duckdb.sql(
        f"SELECT t.piece, g.logprob FROM '{tmp_path}/tables/generation.parquet' g "
        f"JOIN '{tmp_path}/tables/tokens.parquet' t USING (token) ORDER BY position"
    ).fetchall()
    assert [piece for piece, _ in rows] == trace.tokens.pieces[trace.tokens.generated].tolist()
    assert [logprob for _, logprob in rows] == trace.generation.logprobs.tolist()


def test_safetensors_reads_its_arrays(saved, trace):
    read = safetensors.numpy.load(members(saved)["arrays.safetensors"])
    assert set(read) == {
        "routing.ids",
        "routing.gate_weights",
        "routing.scale",
        "routing.entropy",
        "routing.expert_output_fraction",
    }
    assert np.array_equal(read["routing.ids"], trace.routing.ids)
    assert np.array_equal(read["routing.gate_weights"], trace.routing.stored_gate_weights)


def test_the_token_table_has_the_documented_columns(trace):
    assert [field for field in TOKENS if field.name != "token"] == list(trace.tokens.to_arrow().schema)


# ── what cannot be saved ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("meta", [{"a": {1, 2}}, {"a": float("nan")}, {"a": np.float32(1)}])
def test_meta_that_is_no_json_is_refused_before_anything_is_written(meta, trace, tmp_path):
    with pytest.raises(LabError, match="cannot be saved"):
        dataclasses.replace(trace, meta=meta).save(tmp_path / "a.trace")
    assert not list(tmp_path.iterdir())


def test_too_many_pixels_are_refused(trace, tmp_path, monkeypatch):
    monkeypatch.setattr(trace_file, "MAX_PIXELS", 1000)
    with pytest.raises(LabError, match="1 images of 0 Mpx"):
        trace.save(tmp_path / "a.trace", images=True)
    trace.save(tmp_path / "a.trace")


# ── what contradicts itself ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(tokens=216), "takes|rows"),
        (lambda m: m.update(tokens=10**9), "tokens"),
        (lambda m: m.update(tokens=-1), "tokens"),
        (lambda m: m.update(tokens=True), "tokens"),
        (lambda m: m.update(images=2), r"lacks images/1\.png"),
        (lambda m: m.update(images=0), r"images/0\.png, for which"),
        (lambda m: m.update(routing=None), "no use"),
        (lambda m: m.update(generation=None), "no use"),
        (lambda m: m.update(meta=[]), "meta"),
        (lambda m: m.update(timings=None), "timings"),
        (lambda m: m["routing"].update(experts=17), "contradict|takes"),
        (lambda m: m["routing"].update(experts=2), "3 of 2 experts"),
        (lambda m: m["routing"].update(experts=10**12), "experts"),
        (lambda m: m["routing"].update(top_k=4), "takes"),
        (lambda m: m["routing"].update(top_k=0), "top_k"),
        (lambda m: m["routing"].update(layers=[0]), "contradict"),
        (lambda m: m["routing"].update(layers=[0, 0]), "layers"),
        (lambda m: m["routing"].update(layers="01"), "layers"),
        (lambda m: m["routing"].update(layers=list(range(4096))), "takes"),
        (lambda m: m["routing"].update(precision="full"), "takes"),
        (lambda m: m["routing"].update(precision="half"), "precision"),
        (lambda m: m.update(routing=[]), "routing"),
        (lambda m: m["generation"].update(tokens=4), "rows"),
        (lambda m: m["generation"].update(tokens=10**9), "generation.tokens"),
        (lambda m: m["generation"].update(top_logprobs=2), "rows|hold"),
        (lambda m: m["generation"].update(text=None), "generation.text"),
        (lambda m: m["members"].pop("arrays.safetensors"), "disagree"),
        (lambda m: m["members"]["arrays.safetensors"].update(bytes=1), "states 1"),
        (lambda m: m["members"]["arrays.safetensors"].update(sha256=None), "sha256"),
        (lambda m: m["members"].update({"arrays.safetensors": 3}), "members"),
        (lambda m: m.update(members=None), "members"),
    ],
)
def test_a_manifest_that_contradicts_the_rest_is_refused(change, said, saved):
    restate(saved, change)
    refused(saved, said)


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────


def encoded(kind, size=(8, 8), **options):
    sink = io.BytesIO()
    Image.new("RGB", size).save(sink, format=kind, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a PNG"),
        (b"not a picture at all, but long enough", "not a PNG"),
        (encoded("JPEG"), "not a PNG"),
        (encoded("PNG")[:42], "cannot be read"),
    ],
)
def test_pictures_that_are_none_are_refused(data, said, saved):
    forge(saved, lambda m: m.update({"images/0.png": data}))
    refused(saved, said)


def test_a_picture_bomb_is_refused_undecoded(saved):
    data = bytearray(encoded("PNG"))
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    forge(saved, lambda m: m.update({"images/0.png": bytes(data)}))
    refused(saved, "more than 200 Mpx")


def test_long_text_opens(tmp_path):
    trace = made_trace(words(" ".join(["سبعة نجوم"] * 2000)), **SHAPE)
    assert open_trace(trace.save(tmp_path / "a.trace")).equal(trace)


# ── the documentation ──────────────────────────────────────────────────────────────────────────────────

DOCS = Path(__file__).parents[3] / "docs" / "trace-format.md"


def test_every_column_and_array_is_documented_with_its_type(saved):
    text = DOCS.read_text(encoding="utf-8")
    for schema in (TOKENS, GENERATION, ALTERNATIVES):
        for field in schema:
            line = next(line for line in text.splitlines() if f"`{field.name}`" in line and line[0] == "|")
            assert str(field.type) in line, field
    for name in safetensors.numpy.load(members(saved)["arrays.safetensors"]):
        assert f"`{name}`" in text
    for key in json.loads(members(saved)["manifest.json"]):
        assert f'"{key}"' in text


def test_the_documented_reading_without_gemma_lab_works(saved, tmp_path):
    text = DOCS.read_text(encoding="utf-8")
    program = text.split("```python\n")[1].split("```")[0].replace("ada.trace", str(saved))
    assert "(2, 215, 3)" in run(f"import sys\nsys.modules['gemma_lab'] = None\n{program}")


def test_the_documented_query_works(trace, tmp_path, monkeypatch):
    trace.to_parquet(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    query = DOCS.read_text(encoding="utf-8").split("```sql\n")[1].split("```")[0]
    rows = duckdb.sql(query.replace("r.layer = 3", "r.layer = 1")).fetchall()
    assert sum(mass for *_, mass in rows) == pytest.approx(trace.routing.layer(1).weights.sum(), rel=1e-5)
