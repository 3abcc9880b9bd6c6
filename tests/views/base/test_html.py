"""The HTML primitives: escaping, isolation, accessibility, no scripts."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from IPython.core.formatters import DisplayFormatter

from gemma_lab.views.base.html import Markup, bdi, definitions, escape, footnotes, join, link, table, tag

HOSTILE = '<img src=x onerror="alert(1)"></script>&\''


class Tags(HTMLParser):
    """Collects the tags and the attributes of a piece of HTML, and checks that they are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(str(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def test_escape_leaves_no_markup_and_loses_nothing() -> None:
    parsed = Tags(f"<p>{escape(HOSTILE)}</p>")
    assert parsed.names() == {"p"}
    assert parsed.text == HOSTILE


def test_markup_is_not_escaped_twice() -> None:
    assert escape(escape("a & b")) == "a &amp; b"
    assert escape(Markup("<b>x</b>")) == "<b>x</b>"


def test_bdi_isolates_and_escapes_text_and_title() -> None:
    parsed = Tags(bdi("\u202eabc<", title='"><script>'))
    assert parsed.tags == [("bdi", {"dir": "auto", "title": '"><script>'})]
    assert parsed.text == "\u202eabc<"
    assert parsed.open == []


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", "http://example.org", ""])
def test_only_https_becomes_a_link(address: str) -> None:
    assert link(address, "here") == "here"


def test_a_link_escapes_its_address() -> None:
    parsed = Tags(link('https://example.org/"onmouseover="x', "<here>"))
    assert parsed.tags == [("a", {"href": 'https://example.org/"onmouseover="x', "rel": "noopener"})]
    assert parsed.text == "<here>"


def test_a_table_has_a_caption_and_scopes() -> None:
    text = table(
        [["E2B", 1], [HOSTILE, 2]], columns=["size", "n"], caption="two", align="lr", notes=["a < b"]
    )
    parsed = Tags(text)
    assert parsed.open == []
    assert parsed.names() <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert [a.get("scope") for tag, a in parsed.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert "text-align:right" in str(next(a for tag, a in parsed.tags if tag == "td")["style"])
    for words in ("two", HOSTILE, "a < b"):
        assert words in parsed.text


def test_nothing_fixes_a_colour_or_a_background() -> None:
    text = (
        table([["a", "b"]], columns=["x", "y"], caption="c")
        + definitions([("a", "b")], caption="c")
        + footnotes(["n"])
    )
    for declaration in ("background", ";color:", '"color:', "<style", "<script"):
        assert declaration not in text


def test_ragged_rows_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match=r"row 1 has 1 cells; the table has 2 columns"):
        table([["a", "b"], ["c"]], columns=["x", "y"])
    with pytest.raises(ValueError, match="align='l' is for 1 columns"):
        table([["a", "b"]], columns=["x", "y"], align="l")


def test_definitions_are_escaped() -> None:
    parsed = Tags(definitions([("term", HOSTILE), ("other", Markup("<b>1</b>"))], caption="<c>"))
    assert parsed.names() == {"div", "dl", "dt", "dd", "b"}
    assert HOSTILE in parsed.text


def test_no_notes_leave_nothing() -> None:
    assert footnotes([]) == ""


def test_a_notebook_shows_markup_and_a_terminal_its_text() -> None:
    made = [
        tag("p", "a < b"),
        join(["a < b", tag("b", "c")], " "),
        escape("a < b"),
        link("javascript:alert(1)", "a < b"),
        table([("a < b", 1)], columns=("x", "y")),
    ]
    for one in (*made, made[0] + "a < b", Markup("{}").format("a < b")):
        html, _ = DisplayFormatter().format(one, include={"text/html"})
        assert html == {"text/html": str(one)}
        assert "a &lt; b" in html["text/html"]
        assert "a < b" in repr(one)
    assert len(repr(tag("p", "x" * 10_000))) < 200
