"""Many answers of one model at once, each bound by its own grammar processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gemma_lab.models.grammar.engine import grammar
from gemma_lab.models.grammar.processor import GrammarProcessor
from gemma_lab.models.grammar.schema import answer_schema
from gemma_lab.models.loading.compat_cache import cache_in, cache_name

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = {"type": "string", "maxLength": 6}
#: Schemas whose answers end soon also if tokens are drawn at random.
SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "object", "additionalProperties": False, "required": ["name", "n", "on"],
        "properties": {"name": _NAME, "n": {"type": "integer", "minimum": -9, "maximum": 99999},
                       "on": {"type": "boolean"}, "day": {"enum": ["Monday", "Tuesday", None]}},
    },
    {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 10}, "minItems": 1, "maxItems": 3},
    {
        "type": "object", "additionalProperties": False, "required": ["parts"],
        "properties": {"parts": {"type": "array", "maxItems": 2, "items": {
            "type": "object", "additionalProperties": False, "required": ["id", "tags"],
            "properties": {"id": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
                           "tags": {"type": "array", "items": _NAME, "maxItems": 2}}}}},
    },
    {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}, {"const": {"a": [1, "x"]}}]},
)  # fmt: skip


def sampled_answers(
    lab: Any, schema: dict[str, Any], count: int, *, temperature: float, seed: int, most: int = 96
) -> list[tuple[str, bool]]:
    """Return answers drawn from the model under a schema: text, and whether it ended within `most` tokens.

    All rows read the same prompt; each has its own grammar processor, the one that `Lab.chat` uses.
    """
    import torch

    tokenizer, model = lab.tokenizer, lab.model
    eos = model.generation_config.eos_token_id
    ends = list(eos) if isinstance(eos, list) else [eos]
    made = grammar(tokenizer, size=lab.vocabulary, ends=ends, schema=answer_schema(schema))
    processors = [GrammarProcessor(made) for _ in range(count)]
    generator = torch.Generator().manual_seed(seed)
    prompt = tokenizer.encode("Hi", add_special_tokens=True)
    ids = torch.tensor([prompt] * count)
    read, cache, ended = ids, None, torch.zeros(count, dtype=torch.bool)
    for _ in range(most):
        with torch.inference_mode():
            output = model(input_ids=read, use_cache=True, logits_to_keep=1, **{cache_name(model): cache})
        cache, scores = cache_in(output), output.logits[:, -1].float().clone()
        for row in range(count):
            if not ended[row]:
                processors[row](ids[row : row + 1], scores[row : row + 1])
        drawn = torch.multinomial((scores / temperature).softmax(dim=-1), 1, generator=generator)
        drawn[ended] = ends[0]
        ended |= torch.isin(drawn[:, 0], torch.tensor(ends))
        ids, read = torch.cat([ids, drawn], dim=1), drawn
        if bool(ended.all()):
            break
    texts = [_text(tokenizer, row[len(prompt) :], ends) for row in ids.tolist()]
    return list(zip(texts, ended.tolist(), strict=True))


def _text(tokenizer: Any, ids: Sequence[int], ends: Sequence[int]) -> str:
    stop = next((place for place, index in enumerate(ids) if index in ends), len(ids))
    return str(tokenizer.decode(ids[:stop]))
