"""The cache is found and passed by the name that the installed transformers gives it."""

from __future__ import annotations

import inspect

import torch

from gemma_lab.models.loading.compat_cache import cache_in, cache_name


class Named:
    def forward(self, input_ids, cache=None, **kwargs): ...


class Before:
    def forward(self, input_ids, past_key_values=None): ...


def test_either_name_is_known():
    assert cache_name(Named()) == "cache"
    assert cache_name(Before()) == "past_key_values"
    held = object()
    assert cache_in({"cache": held}) is held
    assert cache_in({"cache": None, "past_key_values": held}) is held
    assert cache_in({"input_ids": 1}) is None


def test_a_model_goes_on_with_the_cache_it_is_given(tiny_lab):
    model = tiny_lab("E2B").model
    name = cache_name(model)
    assert name in inspect.signature(model.forward).parameters
    ids = torch.arange(121, 131)[None]
    with torch.no_grad():
        begun = model(input_ids=ids[:, :6], use_cache=True)
        done = model(input_ids=ids[:, 6:], **{name: cache_in(begun)}, use_cache=True)
        whole = model(input_ids=ids)
    torch.testing.assert_close(done.logits, whole.logits[:, 6:], atol=1e-4, rtol=1e-4)
