"""Description of the wire between Python and the browser: arrays of every buffer, traits and messages.

The same tables are written as JSDoc types in ``widgets/js/shared/wire_types.js``; a test compares the two,
and compares them with what the widgets send.
"""

from __future__ import annotations

#: Arrays of every buffer: name → the dtypes it may have. ``row_<query>`` names one array per query.
BUFFERS: dict[str, dict[str, tuple[str, ...]]] = {
    "TokenBuffer": {
        "text": ("uint8",),
        "text_ends": ("uint32",),
        "label": ("uint8",),
        "label_ends": ("uint32",),
        "modality": ("uint8",),
        "role": ("uint8",),
        "script": ("uint8",),
        "direction": ("uint8",),
        "generated": ("uint8",),
        "cluster": ("int32",),
        "media_tokens": ("uint32",),
        "media_index": ("int16",),
        "box": ("int32",),
        "time_ms": ("int32",),
        "frame": ("int16",),
    },
    "LoadBuffer": {"token_counts": ("uint32",), "expert_scale": ("float32",)},
    "LayerBuffer": {
        "layer_indices": ("uint16",),
        "expert_ids": ("uint8", "uint16"),
        "gate_weights": ("uint16",),
        "entropy": ("uint16",),
        "expert_fraction": ("uint16",),
    },
    "GridBuffer": {"thumbnails": ("uint8",), "means": ("float32",)},
    "MapBuffer": {"maps": ("uint8",), "first_token": ("uint16",), "scale_max": ("float32",)},
    "KeyBuffer": {
        "keys": ("uint16", "uint32"),
        "key_weights": ("uint16",),
        "entropy": ("uint16",),
        "distance": ("uint16",),
        "first_token": ("uint16",),
        "mass": ("uint8",),
    },
    "RowBuffer": {"row_<query>": ("uint16",)},
    "SummaryBuffer": {
        "rows": ("uint32",),
        "keys": ("uint32",),
        "key_weights": ("uint16",),
        "top_edges": ("uint32",),
        "edge_weights": ("uint16",),
        "expert_ids": ("uint16",),
        "expert_weights": ("uint16",),
        "lens_positions": ("uint32",),
        "top_words": ("uint32",),
        "probabilities": ("uint16",),
        "final_ranks": ("uint32",),
    },
}

#: JSON values beside the arrays of a buffer.
META: dict[str, tuple[str, ...]] = {
    "TokenBuffer": ("start", "count", "modalities", "roles", "scripts", "directions"),
    "LoadBuffer": ("tokens",),
    "LayerBuffer": ("start", "count"),
    "GridBuffer": ("side", "measures"),
    "MapBuffer": ("layer_index",),
    "KeyBuffer": ("layer_index", "start", "count", "k", "labels"),
    "RowBuffer": ("layer_index",),
    "SummaryBuffer": ("attention", "routing", "logit_lens"),
}

#: Traits of every widget that its views read.
TRAITS: dict[str, tuple[str, ...]] = {
    "ChatTraits": (
        "turns",
        "settings",
        "busy",
        "_attachments",
        "_returned",
        "_calls",
        "_facts",
        "_notice",
    ),
    "RoutingTraits": (
        "layer",
        "selected_tokens",
        "selected_experts",
        "busy",
        "_facts",
        "_tokens",
        "_loads",
        "_layers",
        "_images",
        "_comparison",
        "_can_run",
        "_ack",
        "_notice",
    ),
    "AttentionTraits": ("layer", "head", "selected_tokens", "busy", "_sides", "_can_run", "_ack", "_notice"),
    "ExplorerTraits": (
        "selected_tokens",
        "busy",
        "_facts",
        "_tokens",
        "_summary",
        "_images",
        "_can_run",
        "_ack",
        "_notice",
    ),
    "PlannerTraits": (
        "models",
        "hardware",
        "quantization",
        "runtime",
        "cache",
        "context",
        "batch",
        "runtime_date",
        "ownership",
        "prompt_per_answer",
        "day",
        "busy",
        "_facts",
        "_notice",
    ),
}

#: Messages of the views to each widget: type → the values that go with it.
MESSAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "ChatMessage": {
        "ask": ("text",),
        "stop": (),
        "clear": (),
        "regenerate": (),
        "change_settings": ("settings",),
        "upload": ("id", "name", "mime", "part", "parts"),
        "play_audio": ("id",),
        "remove_attachment": ("id",),
        "resume": (),
        "decide": ("call", "decision", "always"),
        "edit": ("call", "arguments"),
    },
    "RoutingMessage": {
        "layers": ("layer_indices",),
        "select": ("view", "seq", "layer", "tokens", "experts"),
        "ask": ("text",),
        "ablate": ("layer", "experts"),
        "restore": (),
        "show_edited": ("edited",),
        "stop": (),
        "resume": (),
    },
    "AttentionMessage": {
        "maps": ("side", "layer_index"),
        "keys": ("side", "layer_index", "start"),
        "rows": ("side", "layer_index"),
        "fetch": ("side", "layer_index", "queries"),
        "select": ("view", "seq", "layer", "head", "tokens"),
    },
    "ExplorerMessage": {"select": ("view", "seq", "tokens"), "ask": ("text",)},
    "PlannerMessage": {"set_values": ("values",)},
}
