"""The catalog as text and as a table."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from gemma_lab.family.catalog import Catalog, catalog, find
from gemma_lab.family.sources import Source
from gemma_lab.views.family.catalog import catalog_html, catalog_text, checkpoint_html

HOSTILE = '<img src=x onerror="alert(1)">'


def test_text_has_a_line_a_checkpoint_and_aligned_columns() -> None:
    head, *lines = catalog_text(catalog(variant="it")).splitlines()
    assert len(lines) == 5
    column = head.index("context")
    assert [line[column:].split()[0] for line in lines] == ["128K", "128K", "256K", "256K", "256K"]
    assert not any(line != line.rstrip() for line in lines)


def test_the_table_links_to_the_hub_and_numbers_its_notes() -> None:
    text = catalog_html(catalog(size="12B"))
    assert 'href="https://huggingface.co/google/gemma-4-12B-it"' in text
    assert text.count("vllm-project/recipes reads 131,072") == 1
    assert "[1]" in text
    assert "<script" not in text


def test_published_sizes_are_marked_as_rounded() -> None:
    assert "≈ 19.8 GiB" in catalog_text(catalog(variant="qat-w4a16-ct", size="31B"))
    assert "≈" not in catalog_text(catalog(variant="it"))


def test_names_are_data() -> None:
    base = find("e2b-it")
    assert base is not None
    odd = replace(
        base,
        alias=HOSTILE,
        hub_id=None,
        notes=(HOSTILE,),
        sources=(Source("x", HOSTILE, "javascript:alert(1)", "third-party"),),
        weight_bytes=MappingProxyType({}),
        parameters=None,
    )
    for text in (catalog_html(Catalog([odd])), checkpoint_html(odd)):
        assert "<img" not in text
        assert "javascript:" not in text
        assert "&lt;img" in text
    assert repr(odd).endswith("context 131,072 tokens, –)")
    assert odd.third_party


def test_one_checkpoint_shows_everything() -> None:
    checkpoint = find("26b-a4b-it-qat-q4_0-gguf")
    assert checkpoint is not None
    text = checkpoint_html(checkpoint)
    for words in (
        "google/gemma-4-26B-A4B-it-qat-q4_0-gguf",
        "128 per layer, 8 per token",
        "25,805,933,872",
        "llama.cpp",
    ):
        assert words in text
