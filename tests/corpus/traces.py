"""Traces: what can be saved can be opened, and what no model gives is refused on both sides, by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image
from support.forged import forge, restate
from support.made_attention import made_up
from support.routing_traces import picture_trace

import gemma_lab as gl
from corpus.row import Corpus, Row
from gemma_lab.errors import BadTrace, LabError, NotTraced
from gemma_lab.trace.records.generation import Generation
from gemma_lab.trace.records.logit_lens import LogitLens
from gemma_lab.trace.trace import Trace


@cache
def _trace() -> Trace:
    """Return a trace with every part: 215 tokens, routing, generation, attention and a logit lens."""
    trace = picture_trace(layers=2, experts=16, top_k=3)
    lens = LogitLens(
        layers=(0, 1),
        positions=np.int32([212, 214]),
        ids=np.int32([[[1, 2], [2, 1]], [[1, 2], [1, 2]]]),
        logprobs=np.float32([[[-0.5, -1]] * 2] * 2),
        target_ids=np.int32([[1], [1]]),
        ranks=np.int32([[[0], [1]], [[0], [0]]]),
        target_logprobs=np.float32([[[-0.5], [-1]], [[-0.5], [-0.5]]]),
        token_texts={1: "a", 2: "b"},
    )
    return dataclasses.replace(trace, attention=made_up(tokens=len(trace)), logit_lens=lens)


def _saved(corpus: Corpus, trace: Trace) -> bool:
    """Save and open a trace; return whether the opened one is equal."""
    return gl.open_trace(trace.save(corpus.folder / "a.trace")).equal(trace)


def _with(**parts: Any) -> Callable[[Corpus], bool]:
    return lambda corpus: _saved(corpus, dataclasses.replace(_trace(), **parts))


def _attention(change: Callable[[Any], dict[str, Any]]) -> Callable[[Corpus], bool]:
    """Save the trace with some fields of its attention replaced."""

    def run(corpus: Corpus) -> bool:
        attention = _trace().attention
        return _with(attention=dataclasses.replace(attention, **change(attention)))(corpus)

    return run


def _tokens(name: str, value: Any, row: int = 3) -> Callable[[Corpus], bool]:
    def run(corpus: Corpus) -> bool:
        column = getattr(_trace().tokens, name).copy()
        column[row] = value
        return _with(tokens=dataclasses.replace(_trace().tokens, **{name: column}))(corpus)

    return run


def _generation(**changes: Any) -> Callable[[Corpus], bool]:
    def run(corpus: Corpus) -> bool:
        return _with(generation=dataclasses.replace(_trace().generation, **changes))(corpus)

    return run


def _many_alternatives(count: int) -> Callable[[Corpus], bool]:
    def run(corpus: Corpus) -> bool:
        made = _trace().generation
        alternatives = Generation.of(
            ids=made.ids,
            logprobs=made.logprobs,
            entropy=made.entropy,
            alternative_ids=np.tile(np.arange(count), (len(made), 1)),
            alternative_logprobs=np.tile(-1.0 - np.arange(count), (len(made), 1)),
            finish_reason=made.finish_reason,
            text=made.text,
        )
        return _with(generation=alternatives)(corpus)

    return run


def _forged(change: Callable[[dict[str, Any]], Any]) -> Callable[[Corpus], Any]:
    """Open the trace after a change of its manifest."""
    return lambda corpus: gl.open_trace(restate(_trace().save(corpus.folder / "a.trace"), change))


def _array(member: str, name: str, value: float) -> Callable[[Corpus], Any]:
    """Open the trace after the first number of an array was replaced."""

    def change(contents: dict[str, bytes]) -> None:
        data = bytearray(contents[member])
        length = int.from_bytes(data[:8], "little")
        entry = json.loads(data[8 : 8 + length])[name]
        kind = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "U8": "u1", "U16": "<u2"}[entry["dtype"]]
        start = 8 + length + entry["data_offsets"][0]
        number = np.array([value]).astype(kind).tobytes()
        data[start : start + len(number)] = number
        contents[member] = bytes(data)

    return lambda corpus: gl.open_trace(forge(_trace().save(corpus.folder / "a.trace"), change))


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _row(query: int) -> Callable[[Corpus], Any]:
    return lambda _: _trace().attention.row(3, query)


def _hinted(query: int) -> Callable[[Corpus], Any]:
    """Trace, ask for a row that was not recorded, and follow the hint."""

    def run(corpus: Corpus) -> Any:
        trace = corpus.lab.trace("Write 47 in German words.", attention=True)
        try:
            trace.attention.row(0, query)
        except NotTraced:
            return corpus.lab.attention_rows(trace, [query])[0, query].shape[-1]

    return run


_ATTENTION = "attention.safetensors"

ROWS = [
    Row("a trace with every part", _with(), equals=True),
    # ── a run that could not be saved ──
    *(
        Row(
            f"precision {name!r}",
            lambda corpus, name=name: corpus.lab.trace("Hi", precision=name),
            raises=LabError,
            holds=(repr(name), "compact", "full"),
        )
        for name in ("float16", "float32", "Full", "")
    ),
    Row("4,096 alternatives", _many_alternatives(4096), equals=True),
    Row("4,097 alternatives", _many_alternatives(4097), raises=LabError, holds=("4096", "top_logprobs")),
    Row("gate weights of another precision", lambda c: _with(routing=dataclasses.replace(
        _trace().routing, precision="full"))(c), raises=BadTrace, holds=("full", "uint16")),
    Row("a routing of no precision", lambda c: _with(routing=dataclasses.replace(
        _trace().routing, precision="half"))(c), raises=LabError, holds=("'half'",)),
    # ── meta ──
    Row("a lone surrogate in meta is escaped", _with(meta={"name": "\ud800.png"}), equals=True),
    Row("integer keys and tuples in meta", _with(meta={"edit": {4: (17, 90)}}), equals=True),
    Row("one key twice in meta", _with(meta={4: 1, "4": 2}), raises=BadTrace, holds=("4",)),
    Row("an infinite number in meta", _with(meta={"a": [0, np.inf]}), raises=LabError, holds=("meta.a[1]",)),
    Row("a set in meta", _with(meta={"a": {"b": {1}}}), raises=LabError, holds=("meta.a.b", "set")),
    Row("60 levels of meta", _with(meta={"a": _nested(60)}), equals=True),
    Row("1,000 levels of meta", _with(meta={"a": _nested(1000)}), raises=LabError, holds=("64",)),
    Row("NaN as a time", _with(timings={"total_s": np.nan}), raises=LabError, holds=("timings.total_s",)),
    Row("a surrogate in a file", _forged(lambda m: m["meta"].update(a="\udfff")), raises=BadTrace,
        holds=("meta.a",)),
    # ── tokens ──
    Row("a negative id", _tokens("ids", -1), raises=BadTrace, holds=("negative", "row 3")),
    Row("a falling cluster", _tokens("clusters", 0), raises=BadTrace, holds=("cluster", "row 3")),
    Row("a negative box", _tokens("boxes", [0, -4, 9, 9], 30), raises=BadTrace, holds=("box", "row 30")),
    Row("an empty box", _tokens("boxes", [5, 5, 5, 9], 30), raises=BadTrace, holds=("box", "row 30")),
    Row("a negative time", _tokens("times", [-9, 5]), raises=BadTrace, holds=("time", "row 3")),
    Row("a frame below -1", _tokens("frames", -2), raises=BadTrace, holds=("frame", "row 3")),
    Row("half a character", _tokens("texts", "\ud83d"), raises=BadTrace, holds=("texts",)),
    Row("an unknown role", _tokens("roles", "wizard"), raises=BadTrace, holds=("wizard",)),
    # ── generation ──
    Row("a log-probability of -inf", _generation(logprobs=np.float32([-np.inf] * 5)), raises=BadTrace,
        holds=("-inf",)),
    Row("a forbidden probability of 2", _generation(forbidden=np.float32([2] * 5)), raises=BadTrace),
    Row("a first choice without a grammar", _generation(first_choice_ids=np.int32([1] * 5)), raises=BadTrace),
    Row("a negative alternative", _generation(alternative_ids=np.int32([[-1]] * 5)), raises=BadTrace,
        holds=("negative",)),
    # ── logit lens ──
    Row("lens layers beyond 64 bits", _forged(lambda m: m["logit_lens"].update(layers=[0, 10**30])),
        raises=BadTrace, holds=("logit_lens.layers[1]",)),
    Row("negative lens layers", _forged(lambda m: m["logit_lens"].update(layers=[-1, 1])),
        raises=BadTrace, holds=("logit_lens.layers[0]",)),
    # ── attention ──
    Row("NaN in a tower's map", _array(_ATTENTION, "attention.vision.pooled", np.nan), raises=BadTrace,
        holds=("vision",)),
    Row("a negative box of a tower", _array(_ATTENTION, "attention.vision.boxes", -3), raises=BadTrace,
        holds=("vision", "box")),
    Row("NaN in a tower that is saved", _attention(lambda a: {"towers": {"audio": tuple(
        dataclasses.replace(tower, pooled=tower.pooled * np.nan) for tower in a.towers["audio"])}}),
        raises=BadTrace, holds=("audio",)),
    Row("a row of a layer that is absent", _attention(lambda a: {"full_rows": {(4, 11): a.full_rows[7, 11]}}),
        raises=BadTrace, holds=("layer 4",)),
    Row("a row of an absent layer in a file", _forged(
        lambda m: m["attention"]["full_rows"][0].update(layer=5)), raises=BadTrace, holds=("layer 5",)),
    Row("a row that sees a later token", _attention(lambda a: {"full_rows": {(7, 2): a.full_rows[7, 11]}}),
        raises=BadTrace, holds=("row 2", "layer 7")),
    Row("a top key that is a later token", _array(_ATTENTION, "attention.keys", 1), raises=BadTrace,
        holds=("layer 3",)),
    Row("a map that sees later tokens", _attention(lambda a: {"bins_before": {3: 0, 7: a.bins_before[7]}}),
        raises=BadTrace, holds=("layer 3",)),
    Row("a statistic without the others", _attention(lambda a: {"per_query": {
        "entropy": a.per_query["entropy"]}}), raises=BadTrace, holds=("distance",)),
    # ── sizes ──
    Row("a field that no manifest has", _forged(lambda m: m["routing"].update(shares=1)), raises=BadTrace,
        holds=("shares", "routing")),
    Row("true as a number", _forged(lambda m: m["routing"].update(top_k=True)), raises=BadTrace,
        holds=("routing.top_k",)),
    Row("10,001 images", lambda c: dataclasses.replace(_trace(), images=(Image.new("RGB", (1, 1)),) * 10_001)
        .save(c.folder / "a", images=True), raises=LabError, holds=("10,001", "10,000")),
    Row("100,000 images that are not stored", _with(images=_trace().images * 100_000), equals=True),
    # ── rows by query ──
    Row("row -1", _row(-1), raises=LabError, holds=("0 to 214", "[11]")),
    Row("row 999", _row(999), raises=LabError, holds=("999", "0 to 214")),
    Row("a row that was not recorded", _row(5), raises=NotTraced, holds=("rows=(5,)",)),
    Row("the hint of a row works", _hinted(7), equals=8),
]  # fmt: skip
