"""Measure one grammar engine on one vocabulary, in a process of its own; print one line of JSON.

``python engines_worker.py ENGINE TOKENIZER PAIRS``: ENGINE is ``gemma_lab`` (llguidance as this package
builds it), ``llguidance`` (as its documentation shows) or ``xgrammar``; PAIRS is a JSON file of schemas
with an answer each. Every engine reads the same tokens of the same answers.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 240.0  # for all schemas together; those left then are not measured
#: Schemas with a keyword that no engine enforces today: a good engine refuses them.
UNENFORCEABLE: list[dict[str, Any]] = [
    {"not": {"type": "string"}}, {"type": "array", "uniqueItems": True}, {"contains": {"type": "null"}},
    {"type": "array", "contains": {"const": 1}}, {"dependentRequired": {"a": ["b"]}},
    {"if": {}, "then": False},
    {"type": "object", "propertyNames": {"maxLength": 2}}, {"type": "string", "format": "odd"},
    {"type": "string", "pattern": "^(?!a).*$"}, {"type": "object", "dependentSchemas": {"a": False}},
]  # fmt: skip


def resident() -> float:
    """Return the resident memory of this process, MB."""
    import psutil

    return psutil.Process().memory_info().rss / 1e6


class Guidance:
    """llguidance; its tokenizer as the library builds it, or as this package does."""

    package = "llguidance"

    def __init__(self, tokenizer: Any, size: int, ends: list[int], *, kit: bool) -> None:
        if kit:
            from gemma_lab.models.grammar.engine_tokenizer import engine_tokenizer

            self._tokenizer = engine_tokenizer(tokenizer, size, tuple(ends))
        else:
            from llguidance.hf import from_tokenizer

            self._tokenizer = from_tokenizer(tokenizer, n_vocab=size, eos_token=ends)
        from llguidance import torch as masks

        self._masks, self._mask = masks, masks.allocate_token_bitmask(1, size)

    def compile(self, schema: dict[str, Any]) -> Any:
        from llguidance import LLMatcher

        compact = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
        matcher = LLMatcher(
            self._tokenizer, LLMatcher.grammar_from_json_schema(json.dumps({**schema, "x-guidance": compact}))
        )
        if matcher.is_error():
            raise ValueError(matcher.get_error())
        if matcher.get_grammar_warnings():  # a keyword would be ignored
            raise ValueError(matcher.get_grammar_warnings())
        return matcher

    def mask(self, matcher: Any) -> Any:
        self._masks.fill_next_token_bitmask(matcher, self._mask, 0)
        return self._mask

    def accept(self, matcher: Any, token: int) -> bool:
        return bool(matcher.consume_token(token))


class XGrammar:
    """xgrammar, one thread."""

    package = "xgrammar"

    def __init__(self, tokenizer: Any, size: int, ends: list[int], **_: Any) -> None:
        import xgrammar

        self._library = xgrammar
        information = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=size, stop_token_ids=ends)
        self._compiler = xgrammar.GrammarCompiler(information, max_threads=1)
        self._mask = xgrammar.allocate_token_bitmask(1, size)

    def compile(self, schema: dict[str, Any]) -> Any:
        compiled = self._compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        return self._library.GrammarMatcher(compiled)

    def mask(self, matcher: Any) -> Any:
        matcher.fill_next_token_bitmask(self._mask, 0)
        return self._mask

    def accept(self, matcher: Any, token: int) -> bool:
        return bool(matcher.accept_token(token))


ENGINES: dict[str, Callable[..., Any]] = {
    "gemma_lab": lambda *values: Guidance(*values, kit=True),
    "llguidance": lambda *values: Guidance(*values, kit=False),
    "xgrammar": XGrammar,
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor seconds of this process, and what the work returned."""
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def measure(name: str, folder: str, pairs: list[dict[str, Any]]) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = [tokenizer.convert_tokens_to_ids(each) for each in ("<eos>", "<turn|>", "<end_of_turn>")]
    ends = [end for end in ends if end is not None and end != tokenizer.unk_token_id]
    size = len(tokenizer)
    needed = {"gemma_lab": "gemma_lab.models.grammar.engine_tokenizer"}.get(name, name)
    for library in ("torch", needed):  # neither part of the memory nor of the time
        importlib.import_module(library)
    before = resident()
    started, engine = timed(lambda: ENGINES[name](tokenizer, size, ends))
    compiled, masks, refused, wrong, deadline = [], [], 0, 0, time.monotonic() + SECONDS
    for pair in pairs:
        if time.monotonic() > deadline:
            break
        try:
            seconds, matcher = timed(lambda pair=pair: engine.compile(pair["schema"]))
        except Exception:  # a refusal, of a kind that differs between engines
            refused += 1
            continue
        first, _ = timed(lambda matcher=matcher: engine.mask(matcher))
        compiled.append(seconds + first)
        for token in tokenizer.encode(
            json.dumps(pair["answer"], ensure_ascii=False), add_special_tokens=False
        ):
            if not engine.accept(matcher, token):
                wrong += 1
                break
            seconds, _ = timed(lambda matcher=matcher: engine.mask(matcher))
            masks.append(seconds)
    ignored = 0
    for schema in UNENFORCEABLE:
        try:
            engine.compile(schema)
            ignored += 1
        except Exception:  # a refusal
            continue
    return {
        "ignored": f"{ignored} of {len(UNENFORCEABLE)}",
        "version": importlib.metadata.version(ENGINES_PACKAGES[name]),
        "vocabulary": size, "start": started, "compile": compiled, "masks": masks, "refused": refused,
        "wrong": wrong, "not reached": len(pairs) - len(compiled) - refused, "memory": resident() - before,
    }  # fmt: skip


ENGINES_PACKAGES = {"gemma_lab": "llguidance", "llguidance": "llguidance", "xgrammar": "xgrammar"}


if __name__ == "__main__":
    engine_name, tokenizer_folder, pairs_file = sys.argv[1:]
    listed = json.loads(Path(pairs_file).read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps(measure(engine_name, tokenizer_folder, listed)) + "\n")
