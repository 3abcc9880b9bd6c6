"""A row that does not give the layer's output is refused; of many keys the bound is wider."""

from __future__ import annotations

import pytest
import torch

from gemma_lab.errors import BadTrace
from gemma_lab.trace.probes.attention.checks import OutputCheck
from gemma_lab.trace.probes.attention.sequence import TokenSlice


def _recorded(keys, *, off):
    """Return doubts about one head that looks alike at all keys, whose output is off by a share."""
    doubts, value = OutputCheck(), torch.ones(1, keys, 2)
    part = TokenSlice(range(1), range(keys), first_query=keys - 1, first_key=0)
    own = torch.full((1, 2), 1.0 + off)
    doubts.record(0, (0, torch.full((1, keys), 1 / keys)), part=part, value=value, output=own, heads=[0])
    return doubts


@pytest.mark.parametrize(("keys", "off"), [(1_000, 5e-5), (131_072, 3e-4)])
def test_rounding_is_no_doubt(keys, off):
    _recorded(keys, off=off).verify()


@pytest.mark.parametrize(("keys", "off"), [(1_000, 3e-4), (131_072, 1e-3), (1_000, float("nan"))])
def test_what_is_further_off_is_refused_and_names_the_layer(keys, off):
    with pytest.raises(BadTrace, match="In layer 0 the rows give an output"):
        _recorded(keys, off=off).verify()
