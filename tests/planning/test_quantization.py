"""int8 and int4 of this package in plans: names, bits, and which runtime a short name means."""

from __future__ import annotations

import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.planning.quantization import quantization


def test_a_short_name_means_what_the_runtime_reads():
    assert quantization("int4", runtime="transformers").name == "int4-g32"
    assert quantization("int8", runtime="transformers").name == "int8-g32"
    assert quantization("int4", runtime="vLLM").name == "w4a16"
    assert quantization("int4").name == "w4a16"
    assert (
        gl.plan("26B-A4B", hardware="H100", runtime="transformers", quantization="int4").weights.name
        == "int4-g32"
    )
    assert gl.plan("26B-A4B", hardware="H100", runtime="vLLM", quantization="int4").weights.name == "w4a16"


@pytest.mark.parametrize("name", ["int4-g64", "INT4-G64", "int4g64", " int4-g64 "])
def test_names_of_group_sizes(name):
    found = quantization(name)
    assert found == gl.planning.integer_weights(4, group_size=64)
    assert found.bits["experts"] == 4 + 16 / 64
    assert found.bits["embedding"] == 16


def test_the_shipped_rows_are_those_of_the_function():
    for name, bits in (("int8-g32", 8), ("int4-g32", 4)):
        shipped, made = quantization(name), gl.planning.integer_weights(bits)
        assert dict(shipped.bits) == dict(made.bits)
        assert shipped.integers == made.integers
        assert shipped.runtimes == made.runtimes


@pytest.mark.parametrize(
    "options", [{"bits": 2}, {"group_size": 15}, {"group_size": 32.5}, {"embeddings": 5}]
)
def test_numbers_out_of_range(options):
    with pytest.raises(LabError):
        gl.planning.integer_weights(**options)


def test_methods_that_leave_experts_do_not_fit_where_int4_does():
    options = {"hardware": "RTX 3090", "runtime": "transformers", "context": 4096}
    assert not gl.plan("26B-A4B", quantization="nf4", **options).fits
    assert gl.plan("26B-A4B", quantization="int4", **options).fits
