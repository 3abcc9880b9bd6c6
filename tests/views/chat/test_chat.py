from __future__ import annotations

from html.parser import HTMLParser

from gemma_lab.views.chat.chat import chat_html, chat_text

QUESTION = {"key": 1, "role": "user", "text": "Hi\u202e", "media": []}
PICTURE = {
    "kind": "image", "name": '"><script>x</script>.png', "width": 3, "height": 4,
    "src": "data:image/png;base64,AA",
}  # fmt: skip
TOKENS = [
    ["Hm", -0.1, "thought", 0.1, [], -1, None, None],
    ["سبعة", -0.693147, "text", 0.2, [["سبعة", -0.693147], ["'\"<", -3.0]], 0, None, None],
]
ANSWER = {
    "key": 2, "role": "model", "state": "done", "text": "سبعة", "thinking": "Hm", "tokens": TOKENS,
    "finish_reason": "stop", "seed": 1, "context": 9, "speed": 12.0,
}  # fmt: skip
FAILED = {
    "key": 3,
    "role": "model",
    "state": "failed",
    "text": "",
    "tokens": [],
    "error": {"what": "<b>", "hint": "go"},
}


class Tags(HTMLParser):
    """The tags of a document, checking that each is closed, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(str(html))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_conversation_is_script_free_and_isolates_direction() -> None:
    page = Tags(chat_html([{**QUESTION, "media": [PICTURE]}, ANSWER, QUESTION, FAILED], name="m<i>"))
    assert set(page.tags) <= {"div", "bdi", "img", "details", "summary", "span", "b"}
    assert all(not name.startswith("on") for name, _ in page.attributes)
    assert page.tags.count("img") == 1
    assert page.tags.count("b") == 1  # "No answer.", not the error's own
    assert "m<i>" in page.text
    assert "سبعة" in page.text
    assert "Hi[U+202E]" in page.text
    assert ("dir", "auto") in page.attributes
    titles = [value for name, value in page.attributes if name == "title"]
    assert titles == ["probability 50 % — 'سبعة' 50 %, '\\'\"<' 5.0 %"]


CARD = {
    "id": "2-1", "name": "<i>find", "source": "<u>server", "arguments": '{"x": "<script>"}', "state": "ran",
    "edited": True, "problem": "", "result": '"<img src=x>"', "seconds": 0.5,
}  # fmt: skip
CALL = ["<|tool_call>call:find{x:1}<tool_call|>", -0.1, "tool", 0.1, [], -1, [0.75, "<b>No", True], None]


def test_calls_have_their_arguments_state_and_result_and_are_no_markup() -> None:
    turn = {**ANSWER, "tokens": [CALL], "text": "", "thinking": ""}
    failed = {**CARD, "id": "2-2", "state": "failed", "result": "ValueError: <b>", "edited": False}
    page = Tags(chat_html([turn], name="m", calls={"2": [CARD, failed]}))
    assert set(page.tags) <= {"div", "bdi", "details", "summary", "span", "b", "pre"}
    for part in ("<i>find of <u>server: ran, arguments edited", "<script>", "<img src=x>", "ValueError: <b>"):
        assert part in page.text
    assert page.tags.count("details") == 2  # the call as written, and the result that ran
    titles = [value for name, value in page.attributes if name == "title"]
    assert "'<b>No'" in titles[0]
    assert any("underline" in (value or "") for _, value in page.attributes)
    assert chat_text([turn], calls={"2": [CARD]}) == 'Call: <i>find {"x": "<script>"} (ran) "<img src=x>"'


def test_an_empty_conversation_says_how_to_begin() -> None:
    assert "Run this notebook" in chat_html([], name="m")
    assert chat_text([]) == ""


def test_text_says_who_what_and_how_it_ended() -> None:
    live = {"key": 4, "role": "model", "state": "live", "tokens": []}
    turns = [{**QUESTION, "media": [PICTURE]}, {**ANSWER, "finish_reason": "stopped"}, FAILED, live]
    assert chat_text(turns).splitlines() == [
        'You: ["><script>x</script>.png, 3 × 4] Hi[U+202E]',
        "Model: سبعة (stopped by the user)",
        "Model: (failed) <b>",
        "Model: (still writing)",
    ]
    assert "Still writing" in chat_html([live], name="m")
