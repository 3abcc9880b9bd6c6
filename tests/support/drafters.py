"""Drafters for tests: of random weights for any tiny checkpoint, and one that proposes a given answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch


def tiny_drafter(base: Any, *, seed: int = 0, layers: int = 4) -> Any:
    """Return an assistant of random weights with the family's four layers, for a model of any shape."""
    import transformers

    text = base.config.get_text_config()
    kinds = ("sliding_attention", "full_attention")
    local, whole = (text.per_layer_config[text.layer_types.index(kind)] for kind in kinds)
    name = "Gemma4Unified" if "Unified" in type(base).__name__ else "Gemma4"
    config = getattr(transformers, f"{name}AssistantConfig")(
        text_config={
            "model_type": "gemma4_unified_text" if name == "Gemma4Unified" else "gemma4_text",
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
            "num_kv_shared_layers": layers,
            "layer_types": ["sliding_attention"] * (layers - 1) + ["full_attention"],
            "num_attention_heads": 4, "head_dim": local.head_dim, "global_head_dim": whole.head_dim,
            "num_key_value_heads": local.num_key_value_heads,
            "num_global_key_value_heads": whole.num_key_value_heads,
            "attention_k_eq_v": text.attention_k_eq_v, "sliding_window": text.sliding_window,
            "vocab_size": text.vocab_size, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0,
            "max_position_embeddings": text.max_position_embeddings, "pad_token_id": 0,
        },
        backbone_hidden_size=text.hidden_size,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, f"{name}AssistantForCausalLM")(config).eval()


class Gemma4AssistantScripted(torch.nn.Module):
    """A drafter that proposes a given answer, with every n-th token of it replaced by another one.

    Parameters
    ----------
    base
        The model that it drafts for.
    prompt
        Tokens of the prompt.
    answer
        Ids of the answer.
    wrong
        Every so many tokens one is wrong; 0 for none.
    """

    def __init__(self, base: Any, *, prompt: int, answer: list[int], wrong: int = 0) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.config, self.generation_config = base.config, base.generation_config
        self.width = base.config.get_text_config().hidden_size
        self.vocabulary = base.config.get_text_config().vocab_size
        self.prompt, self.answer, self.wrong = prompt, answer, wrong
        self.position, self.step = -1, 0
        self.keys: list[dict[str, int]] = []  # how many keys each call saw, by kind of layer

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.unused.device

    def forward(self, *, position_ids: torch.Tensor, shared_kv_states: Any, **_: Any) -> Any:
        """Propose the next token of the answer."""
        position = int(position_ids[0, 0])
        self.step = self.step + 1 if position == self.position else 0
        self.position = position
        self.keys.append({kind: keys.shape[2] for kind, (keys, _) in shared_kv_states.items()})
        place = position + 1 - self.prompt + self.step
        token = self.answer[place] if place < len(self.answer) else 0
        if self.wrong and place % self.wrong == self.wrong - 1:
            token = (token + 1) % self.vocabulary
        logits = torch.full((1, 1, self.vocabulary), -10.0)
        logits[0, 0, token] = 10.0
        return SimpleNamespace(logits=logits, last_hidden_state=torch.zeros(1, 1, self.width))


def scripted(lab: Any, reply: Any, *, wrong: int = 0, tokens: int = 4) -> Any:
    """Return a `Drafter` that proposes the tokens of an earlier answer."""
    from gemma_lab.models.drafting.drafter import Drafter

    ids = [token.id for token in reply.tokens]
    model = Gemma4AssistantScripted(lab.model, prompt=reply.prompt_tokens, answer=ids, wrong=wrong)
    return Drafter(model=model, name="scripted", tokens=tokens)
