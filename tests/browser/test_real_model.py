"""What a mini really did, in the explorers: a digit read from its patches, a fact among 32,000 tokens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect
from support.pages import settles

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Notebook

DIGIT = """
import gemma_lab as gl
from gemma_lab.assets import data_path

lab = gl.load()
trace = lab.trace("Which digit is in the picture?", images=[data_path("media/digits/7.png")],
                  max_new_tokens=4, attention=True, logit_lens=True)
asks = int((~trace.tokens.generated).sum()) - 1  # the answer is written from here
"""
HEAD = """
from gemma_lab.analysis.attention.head_types import classify_heads

kinds = classify_heads(trace)
layer, head = kinds.heads[int(kinds.scores["picture reading"].argmax())]
explorer = gl.AttentionExplorer(trace, lab=lab, layer=layer, head=head)
explorer.selected_tokens = [asks]
explorer
"""
FACT = """
import gemma_lab as gl
from gemma_lab.evals.needle_in_a_haystack import needle

lab = gl.load()
one = needle(lab, tokens=32_700, depth=0.5)
trace = lab.trace(one.prompt, max_new_tokens=4, attention=gl.AttentionRequest(layers=[5], rows=(-1,)))
asks = trace.attention.rows[0]
row = trace.attention.row(5, asks)[:, 1:]
head = int(row.max(axis=1).argmax())
explorer = gl.AttentionExplorer(trace, lab=lab, layer=5, head=head)
explorer.selected_tokens = [asks]
print(trace.generation.text == one.answer, f"{row[head].max():.3f}")
"""


def printed(book: Notebook, cell: int) -> str:
    output = book.page.locator(".jp-Cell").nth(cell).locator(".jp-OutputArea-output pre").last
    expect(output).to_be_visible(timeout=300_000)
    return output.inner_text().strip()


def share(card: Locator) -> float:
    """Read the share of the heaviest key off the card, 0 to 1."""
    return (
        float(card.locator(".gl-weight:visible > span:last-child").first.inner_text().removesuffix(" %"))
        / 100
    )


def test_a_digit_is_read_from_its_patches(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        DIGIT + HEAD,
        "keys, weights = (each[trace.attention.heads.index(head), asks] for each in trace.attention.top_keys(layer))\n"
        "weights[keys == 0] = 0\n"
        "best = int(keys[weights.argmax()])\n"
        "print(trace.generation.text, trace.tokens.modalities[best], f'{weights.max():.3f}', asks)",
        "one = gl.Explorer(trace, lab=lab)\none.selected_tokens = [asks + 1]\none",
        width=1320,
        height=1500,
    )
    book.run(0)
    widget = book.page.locator(".gl-attention")
    card = widget.get_by_test_id("row")
    expect(card).to_contain_text("attends to", timeout=90_000)
    book.run(1)
    said, medium, weight, asks = printed(book, 1).split()
    assert (said, medium) == ("7", "image")  # a digit that no training saw
    expect(card).to_contain_text(f"token {asks} ")
    assert abs(share(card) - float(weight)) < 0.01
    expect(widget.locator(".gl-medium figcaption")).to_contain_text("of the row")
    book.shot("attention-digit", widget)
    book.run(2)
    look = book.page.locator(".gl-look")
    expect(look.get_by_test_id("behind")).to_contain_text("decided by the row of", timeout=60_000)
    look.scroll_into_view_if_needed()
    book.shot("one-look-digit", look)
    book.check_quiet()


def test_a_fact_is_found_among_thirty_two_thousand_tokens(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(FACT, "explorer", width=1320, height=1400)
    book.run(0)
    right, weight = printed(book, 0).split()
    assert right == "True"
    assert float(weight) > 0.3
    book.run(1)
    widget = book.page.locator(".gl-attention")
    card = widget.get_by_test_id("row")
    expect(card).to_contain_text("attends to", timeout=60_000)
    settles(book.page, lambda: share(card), pytest.approx(float(weight), abs=0.01))
    book.shot("attention-32k", widget)
    # Close by, rows are read from the model again, all of them, and say the same.
    zoomed = widget.get_by_test_id("map")
    zoomed.focus()  # the row that is read is in the middle of what the keys zoom into
    for _ in range(10):
        book.page.keyboard.press("+")
    widget.get_by_test_id("fetch").click()
    expect(widget.get_by_test_id("how")).to_contain_text(re.compile(r"all of 3\d rows"), timeout=300_000)
    book.shot("attention-32k-rows", widget)
    book.check_quiet()
