from __future__ import annotations

import re
from html.parser import HTMLParser

from support.attention_traces import arabic, hostile, long, picture, sound
from support.routing_traces import HOSTILE

from gemma_lab.views.attention.static import attention_html


class Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.active: list[str] = []
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.active += [
            name
            for name, value in attrs
            if name.startswith("on")
            or (name in ("src", "href") and not value.startswith("data:image/png;base64,"))
        ]

    def handle_data(self, data):
        self.text += data


def test_the_twin_shows_the_text_the_head_and_where_tokens_look_without_scripts() -> None:
    trace = arabic()
    html = attention_html(trace, layer=5, head=1, tokens=[20])
    assert html == attention_html(arabic(), layer=5, head=1, tokens=[20])
    reader = Reader(html)
    assert reader.active == []
    assert "script" not in reader.tags
    assert "سبعة نجوم تلمع فوق البحر." in reader.text
    keys, weights = (each[1, 20] for each in trace.attention.top_keys(5))
    table = html[html.index("Top keys in layer 5, head 1") :]
    assert f"{weights[0]:.1%}" in table
    named = [f'title="{weights[at]:.2%}"' for at in range(3) if trace.tokens.texts[keys[at]]]
    assert named
    assert all(title in html for title in named)
    assert "token 20" in reader.text


def test_media_stand_for_what_a_token_gives_them() -> None:
    reader = Reader(attention_html(picture(), layer=5, head=0))
    assert re.search(r"image × 192: \d", reader.text)
    assert re.search(r"image 1: [\d.]+%", reader.text)
    assert re.search(r"audio × 50: \d.*video × 40: \d", Reader(attention_html(sound(), layer=5, head=0)).text)


def test_hostile_text_stays_text() -> None:
    reader = Reader(attention_html(hostile(), layer=5, head=0))
    assert reader.active == []
    assert not reader.tags & {"script", "style", "b"}
    assert HOSTILE[0] in reader.text
    assert "\u202e" not in reader.text


def test_a_long_text_has_a_small_twin_that_says_what_it_leaves_out() -> None:
    html = attention_html(long(8192), layer=5, head=0)
    assert len(html) < 200_000
    assert "7,792 earlier tokens" in html
    assert "pooled to 128 bins of up to 64 tokens" in html
