"""The token table as HTML: nothing hidden, nothing executed, right-to-left text left in peace."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from support import shapes

from gemma_lab.evals.parallel_sentences import languages, sentences
from gemma_lab.trace.tokens.table import TokenTable
from gemma_lab.views.trace.tokens import tokens_html

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">&amp;\u202eevil" onmouseover="x'


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text, self.titles, self.open = set(), "", [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        assert {name for name, _ in attrs} <= {
            "style",
            "title",
            "dir",
            "role",
            "aria-label",
            "aria-hidden",
            "scope",
        }
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def tokenizer():
    return shapes.tiny_tokenizer()


def table(tokenizer, text, answer=""):
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = prompt + tokenizer(answer, add_special_tokens=False)["input_ids"]
    return TokenTable.build(ids, tokenizer=tokenizer, prompt_length=len(prompt))


def test_hostile_text_stays_text(tokenizer):
    html = tokens_html(table(tokenizer, f"<|turn>user\n{HOSTILE}"))
    page = Page(html)
    assert not page.tags & {"script", "img", "style"}
    assert "<script>alert(1)</script>" in page.text


@pytest.mark.parametrize("language", languages(), ids=lambda language: language.code)
def test_every_language_reads_whole_in_its_own_direction(tokenizer, language):
    text = " ".join(sentences(language.code).values())
    html = tokens_html(table(tokenizer, f"<|turn>user\n{text}<turn|>\n"))
    page = Page(html)
    assert text in page.text
    assert "\ufffd" not in html
    # the line runs by its own first strong character, and the words of the format do not take part in that
    assert 'dir="auto" style="flex:1;white-space:pre-wrap;unicode-bidi:plaintext' in html
    assert re.search(r'<span dir="ltr"><bdi [^>]*>&lt;\|turn&gt;</bdi>', html)


def test_roles_modalities_and_the_models_words_are_told_in_words_and_lines():
    processor = shapes.tiny_processor("26B-A4B")
    picture = Image.new("RGB", (90, 60))
    text = "<|turn>user\n<|image|>Hi<turn|>\n<|turn>model\n"
    outputs = processor(text=[text], images=[picture], return_tensors="np")
    prompt = outputs["input_ids"][0].tolist()
    answer = processor.tokenizer("<|channel>thought\nHm<channel|>Yes", add_special_tokens=False)["input_ids"]
    rows = TokenTable.of(
        prompt + answer,
        processor=processor,
        prompt_length=len(prompt),
        inputs={name: np.asarray(value) for name, value in outputs.items()},
        images=[picture],
    )
    html = rows._repr_html_()
    page = Page(html)
    count = int((rows.modalities == "image").sum())
    for word in ("user", "model", "thought", f"image × {count}", "<|turn>", "written by the model"):
        assert word in page.text
    assert any("image 1 · 90 × 60 px" in title for title in page.titles)
    assert html.count("border-bottom:2px solid") - 1 == len("HmYes")  # and once in the legend
    assert html == rows._repr_html_()


def test_hovering_names_pieces_ids_and_script(tokenizer):
    rows = table(tokenizer, "م")
    title = next(title for title in Page(tokens_html(rows)).titles if "make one" in title)
    first, second = rows.ids.tolist()
    assert title == (
        f"tokens 0 to 1 (2 make one) · \u2068<0xD9>\u2069 ({first}) \u2068<0x85>\u2069 ({second}) · Arab, rtl"
    )


def test_a_long_table_says_what_is_left_out(tokenizer):
    rows = table(tokenizer, "a" * 5_000)
    html = tokens_html(rows)
    assert "2,000 more tokens are not shown." in html
    assert "4,800 more rows are not shown." in html
    assert len(html) < 1_000_000


def test_an_empty_table_is_drawn(tokenizer):
    assert "0 tokens" in Page(tokens_html(table(tokenizer, ""))).text
