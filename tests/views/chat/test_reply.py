"""A reply's HTML: no script whatever the text, tints that grow with doubt, stable text."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gemma_lab.models.chat.reply import Alternative, Overruled, Reply, Timings, Token
from gemma_lab.models.chat.sampling import Sampling
from gemma_lab.views.base.text import percent, visible_token
from gemma_lab.views.chat.reply import hover, reply_html, reply_text, tint

EVIL = (
    "<img src=x onerror=alert(1)>",
    "</script>",
    '" onmouseover="x',
    "\u202eabc",
    "مرحبا",
    "a\nb",
    "&amp;",
)


class Reader(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.feed(str(text))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def make(texts=("Hi", " you"), *, seconds=1.0, thinking=""):
    others = tuple(Alternative(i, text, -1.0 - i) for i, text in enumerate(EVIL))
    tokens = [Token(3, thinking, -0.1, 0.2, others, "thought")] if thinking else []
    tokens += [Token(i, text, -float(i), 0.5, others) for i, text in enumerate(texts)]
    tokens.append(Token(1, "", 0.0, 0.0, (), "special"))
    timings = Timings(seconds, seconds, 5, len(tokens))
    return Reply("".join(texts), thinking, tuple(tokens), [], 5, "stop", Sampling(), 7, "<b>m", timings)


def test_no_text_becomes_markup():
    read = Reader(reply_html(make(EVIL, thinking="<script>alert(1)</script>")))
    assert not {"img", "script", "b"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    for text in EVIL:
        assert text in read.text or any(text in piece for piece in read.text)


def test_text_is_isolated_and_thoughts_are_folded():
    html = reply_html(make(thinking="Hm"))
    assert html.index("<details><summary>Thinking") < html.index(">Hi<")
    assert "unicode-bidi:isolate" in html
    assert 'dir="auto"' in html
    assert "Thinking" not in reply_html(make())


def test_html_and_text_are_stable():
    assert reply_html(make(seconds=1.0)) == reply_html(make(seconds=2.0))
    assert reply_text(make(thinking="Hm\n")) == (
        "[thinking] Hm\nHi you\n[<b>m: 4 tokens, complete, temperature 1, top-p 0.95, top-k 64]"
    )


def test_tint_grows_with_doubt():
    strengths = [float(tint(p).split(",")[-1].rstrip(")")) for p in np.linspace(0, 1, 11)]
    assert strengths == sorted(strengths, reverse=True)
    assert tint(1.0).endswith(",0.00)")


def test_hover_has_probability_and_alternatives():
    lines = hover(make().tokens[0]).splitlines()
    assert lines[0] == "100 % · entropy 0.50 nats"
    assert lines[1].startswith("37 %  \u2068")
    assert len(lines) == 1 + len(EVIL)  # a line end inside an alternative is made visible


@pytest.mark.parametrize(("p", "said"), [(1, "100 %"), (0.621, "62 %"), (0.0123, "1.2 %"), (1e-5, "< 0.1 %")])
def test_percent(p, said):
    assert percent(p) == said


def test_what_cannot_be_seen_is_made_visible():
    assert visible_token(" a\n\u202e") == "␣a↵U+202E"
    assert visible_token("") == "∅"


def bound(*effects):
    reply = make([f"t{n}" for n in range(len(effects))])
    tokens = [replace(token, overruled=each) for token, each in zip(reply.tokens, effects, strict=False)]
    return replace(reply, tokens=(*tokens, *reply.tokens[len(effects) :]))


def test_overruled_tokens_are_marked_counted_and_explained():
    html = reply_html(bound(Overruled(0.75, 9, EVIL[0], True), Overruled(0.25, 1, "t1", False)))
    assert html.count('underline double #d55e00;text-underline-offset:.2em" title="') == 1
    assert "1 overruled by the grammar" in html
    assert "forbade the model&#39;s first choice" in html
    read = Reader(html)
    assert not {"img", "script"} & set(read.tags)
    titles = [value for name, value in read.attributes if name == "title"]
    assert "75 % on tokens that the grammar forbids" in titles[0]
    assert visible_token(EVIL[0]) in titles[0]
    assert "25 % on tokens" in titles[1]
    assert "first choice" not in titles[1]


def test_calls_are_shown_as_written_without_markup():
    reply = make(("Hi",))
    call = Token(9, f"<|tool_call>{EVIL[0]}", -0.1, 0.2, (), "tool", Overruled(0.5, 3, "No", True))
    html = reply_html(replace(reply, tokens=(call, *reply.tokens)))
    assert "&lt;|tool_call&gt;&lt;img" in html
    assert "font-family:monospace" in html
    assert "underline double" in html
    assert "img" not in Reader(html).tags
    assert "font-family:monospace" not in reply_html(reply)


def test_without_a_grammar_nothing_is_marked():
    assert "underline double" not in reply_html(make())
    assert "overruled" not in reply_html(make())
    assert "overruled" not in reply_text(make())
    obeyed = reply_html(bound(Overruled(0.0, 0, "t0", False)))
    assert "underline double" not in obeyed
    assert "0 overruled by the grammar" in obeyed


def test_a_long_reply_says_how_many_rows_it_leaves_out():
    assert "51 more tokens are not shown" in reply_html(make(["x"] * 250))


def test_drafts_are_marked_and_counted():
    from gemma_lab.models.drafting.acceptance import Acceptance
    from gemma_lab.views.chat.reply import ACCEPTED, REJECTED

    plain = make(("a", "b", "c", "d"))
    assert ACCEPTED not in str(reply_html(plain))
    drafted = (None, True, True, False, None)
    tokens = tuple(replace(token, drafted=each) for token, each in zip(plain.tokens, drafted, strict=True))
    found = Acceptance.of(drafted, drafter="<b>d", draft_tokens=4)
    html = str(reply_html(replace(plain, tokens=tokens, acceptance=found)))
    styles = [value for name, value in Reader(html).attributes if name == "style" and "background" in value]
    assert sum(ACCEPTED in style for style in styles) == 2
    assert sum(REJECTED in style for style in styles) == 1
    assert "2 of 3 examined drafts accepted" in html
    assert "<b>d" not in html
    assert "accepted" in hover(tokens[1])
    assert "rejected" in hover(tokens[3])
    assert "reject" not in hover(tokens[0])
