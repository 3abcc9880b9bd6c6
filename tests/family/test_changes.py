"""What is said of Gemma 3 holds in the installed transformers, where that can be read."""

from __future__ import annotations

import inspect
import json

from gemma_lab.family.architecture import get_architecture
from gemma_lab.family.changes import changes_since_gemma3


def row(what: str) -> tuple[str, str]:
    found = next(change for change in changes_since_gemma3().rows if change.what == what)
    return found.before, found.after


def test_gemma_3_is_as_described() -> None:
    from transformers import Gemma3Config, Gemma3TextConfig
    from transformers.models.gemma3 import modeling_gemma3
    from transformers.models.gemma4 import modeling_gemma4

    text = Gemma3TextConfig()
    assert f"{text.max_position_embeddings:,} tokens" == row("Context")[0]
    assert text.final_logit_softcapping is None
    assert row("Final logits") == ("not capped", "capped softly at 30")
    assert str(Gemma3Config().mm_tokens_per_image) == row("Tokens a picture")[0]
    assert "1.0 + self.weight" in inspect.getsource(modeling_gemma3.Gemma3RMSNorm)
    assert "1.0 + self.weight" not in inspect.getsource(modeling_gemma4.Gemma4RMSNorm)
    assert "v_norm" not in inspect.getsource(modeling_gemma3.Gemma3Attention)
    assert "self.scaling = 1.0" in inspect.getsource(modeling_gemma4.Gemma4TextAttention)


def test_gemma_4_is_as_described() -> None:
    shape = get_architecture("31B")
    assert row("Context")[1] == f"{shape.context:,} tokens"
    assert row("Decoder")[1].startswith(f"{len(shape.layers)} layers")
    assert f"{shape.hidden:,}" in row("Decoder")[0]
    assert f"{shape.layers[0].mlp_width:,}" in row("Decoder")[0]
    local, globally = shape.layers[0], shape.layers[5]
    assert (
        row("Width of a head")[1] == f"{local.head_dim} in local layers, {globally.head_dim} in global ones"
    )
    assert row("Heads of keys and values")[1].startswith(
        f"{local.kv_heads} in local layers, {globally.kv_heads} in global ones"
    )
    assert shape.softcap == 30


def test_repr_data_and_table() -> None:
    table = changes_since_gemma3()
    assert repr(table) == f"Changes({len(table.rows)} from Gemma 3 27B to Gemma 4 31B)"
    assert len(json.loads(json.dumps(table.to_dict()))["changes"]) == len(table.rows)
    assert table._repr_html_().count("<tr") == 1 + len(table.rows)
