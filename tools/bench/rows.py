"""The rows of the table: what is measured, and the targets that were set before anything was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    key
        The name by which a benchmark records.
    title
        What is measured, for a reader.
    target
        The target in words.
    where
        The benchmark that measures it: ``tests/benchmarks/test_WHERE.py``.
    """

    key: str
    title: str
    target: str
    where: str


ROWS = (
    Row("attention-time", "attention capture ÷ SDPA prefill: time", "≤ 1.5 ×", "attention_overhead"),
    Row("attention-memory", "attention capture ÷ SDPA prefill: peak memory", "≤ 1.3 ×", "attention_overhead"),
    Row("routing-time", "routing capture ÷ plain prefill: time", "≤ 1.05 ×", "routing_overhead"),
    Row("routing-bytes", "routing recorded, per token and layer", "≤ 28 B", "routing_overhead"),
    Row("exactness", "every summary against eager tensors, fp32", "≤ 1e-5", "exactness"),
    Row("exact-ids", "top keys and expert ids equal to the model's", "100 %", "exactness"),
    Row("exact-logits", "logits with tracing on and off", "bit-identical", "exactness"),
    Row("causal-map-speed", "causal map ÷ patching cell by cell: speed", "≥ 5 ×", "causal_map"),
    Row("causal-map-exact", "effects of a causal map against cell by cell", "≤ 1e-5 nats", "causal_map"),
    Row("jacobian-lens-trace", "trace with the Jacobian ÷ with the logit lens: time", "≤ 1.3 ×", "lenses"),
    Row("lens-fit-copies", "fit of a lens one copy at a time ÷ 64 copies: time", "≥ 3 ×", "lenses"),
    Row("longest-prompt", "longest traced prompt on 2 cores", "≥ 131,072 tokens", "long_prompt"),
    Row("longest-memory", "its peak memory", "≤ 2 GB", "long_prompt"),
    Row("longest-time", "its time", "reported", "long_prompt"),
    Row("chat-speed", "chat tokens/s ÷ plain generate", "≥ 0.95 ×", "chat_speed"),
    Row("draft-speed", "decoding with a drafter ÷ without: tokens/s, repetitive text", "≥ 1.3 ×", "drafting"),
    Row("grammar-speed", "answers under a grammar ÷ the same without: tokens/s", "≥ 0.9 ×", "grammar"),
    Row("grammar-token", "a grammar's work per token, 262,144 tokens", "≤ 1 ms", "grammar_engines"),
    Row("grammar-valid", "sampled answers under a schema that are not valid", "= 0", "grammar_validity"),
    Row("grammar-accuracy", "right answers under a grammar", "≥ 95 %; JSON ≥ 98 %", "grammar_accuracy"),
    Row("engine-start", "grammar engine: tokenizer built once per vocabulary", "reported", "grammar_engines"),
    Row("engine-compile", "grammar engine: schema compiled, first mask", "reported", "grammar_engines"),
    Row("engine-mask", "grammar engine: mask of a token", "reported", "grammar_engines"),
    Row("engine-memory", "grammar engine: memory", "reported", "grammar_engines"),
    Row("engine-ignored", "grammar engine: schemas taken but not enforced", "= 0", "grammar_engines"),
    Row("training-attention", "adapter training ÷ a plain PEFT loop: speed", "≥ 0.9 ×", "fine_tuning"),
    Row("training-experts", "the same with experts", "≥ 0.9 ×", "fine_tuning"),
    Row("int8-bytes", "experts in int8 ÷ in bfloat16: bytes, scales included", "≤ 0.56 ×", "quantization"),
    Row("int4-bytes", "experts in int4 ÷ in bfloat16: bytes, scales included", "≤ 0.31 ×", "quantization"),
    Row("int8-skills", "skills that int8 puts below their interval", "= 0", "quantization"),
    Row("int4-skills", "mean of the skills that int4 loses", "≤ 2 points", "quantization"),
    Row("server-speed", "gemma-lab serve ÷ lab.stream: tokens/s, read by a client", "≥ 0.9 ×", "server"),
    Row("server-first-token", "first token through the server, later than lab.stream", "≤ 20 ms", "server"),
    Row("survey-memory", "survey: growth of a worker's memory over all prompts", "≤ 5 %", "survey_memory"),
    Row("survey-resume", "survey killed and resumed ÷ undisturbed: processor time", "≤ 1.05 ×", "survey"),
    Row("survey-workers", "survey on Ray: prompts/s of two workers ÷ one", "≥ 1.7 ×", "survey"),
    Row("saved-notebook", "saved notebook after ten widgets", "< 5 MB", "saved_bytes"),
    Row("attention-view", "saved attention view, 35 × 8 heads at 128 tokens", "≤ 3 MB", "attention_explorer"),
    Row("widget-first", "widget inserted → first correct hover read-out", "< 1,000 ms", "attention_explorer"),
    Row("widget-nodes", "DOM nodes of a widget", "< 2,000", "attention_explorer"),
    Row("widget-hover", "hover, 95th percentile", "< 16 ms", "attention_explorer"),
    Row("lru-curve", "LRU hits of every cache size ÷ looping over sizes", "≥ 20 × faster", "expert_cache"),
    Row("plan-time", "a plan with advice and all figures, processor time", "< 5 ms", "planner"),
    Row("planner-update", "an update of the planner's page, processor time", "< 50 ms", "planner"),
    Row("import-time", "import gemma_lab, without torch", "< 0.3 s", "import_time"),
)  # fmt: skip
