"""Tools, structured answers and tints of the chat and the explorers, used in a browser as a person would."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.pages import open_saved

import gemma_lab as gl

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Locator

    from conftest import Notebook

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
TOOLS = """\
import threading
from support.scripted import ScriptedLab, call_tokens, overruled, token, words
from gemma_lab import Chat

free = threading.Event()

def weather(city: str):
    "Weather in a city."
    return {"city": city, "sky": "<img src=x onerror=alert(1)>"}

def slow(city: str):
    "Wait."
    free.wait(60)

call = overruled(call_tokens("weather", city="Rome"), 1, forbidden=0.8, first="call:<b>get")
scripts = [
    [*words("I look. "), *call, *call_tokens("weather", city="Oslo"), *call_tokens("weather", city="Bonn")],
    words("Sunny", "."),
    [*call_tokens("slow", city="Rome")],
]
"""
#: Makes a text so tall that all of it is in sight, and so drawn.
TALL = "e => { e.parentElement.style.minHeight = '1500px'; e.dispatchEvent(new Event('scroll')); }"
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["name", "tags"],
}


def ask(chat: Locator, text: str) -> None:
    field = chat.get_by_label("Your prompt")
    field.fill(text)
    field.press("Enter")


def test_calls_are_run_edited_denied_and_stopped(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(
        TOOLS + "chat = Chat(ScriptedLab(scripts), tools=[weather, slow])\nchat",
        "free.set()\nprint([each.status for run in chat.runs for each in run.executions], "
        "chat.runs[0].executions[1].arguments, chat.runs[1].ended, chat.settings['ask'])",
    )
    book.run(0)
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    ask(chat, "Weather?")
    cards = chat.get_by_test_id("call")
    expect(cards).to_have_count(3)
    state = cards.nth(0).get_by_test_id("call-state")
    expect(state).to_have_text("waits for you")
    expect(chat.get_by_role("status")).to_contain_text("run, edit or deny the call of weather")
    expect(cards.nth(1).get_by_test_id("run")).to_be_hidden()
    book.shot("tools-waiting", chat)
    cards.nth(0).get_by_role("button", name="Run weather").press("Enter")  # by keyboard
    expect(state).to_contain_text("ran")
    expect(cards.nth(0).locator(".gl-code").first).to_contain_text('"Rome"')
    cards.nth(0).locator("summary").click()
    expect(cards.nth(0).get_by_test_id("result")).to_contain_text("<img src=x onerror=alert(1)>")

    cards.nth(1).get_by_test_id("edit").click()
    editor = cards.nth(1).get_by_label("Arguments of weather as JSON")
    expect(editor).to_be_focused()
    editor.fill('{"city": 5}')
    editor.press("Control+Enter")
    expect(cards.nth(1).get_by_role("alert")).to_contain_text("city is 5")
    expect(editor).to_have_value('{"city": 5}')
    book.shot("tools-editing", chat)
    editor.press("Escape")  # leaves the editor, and stops nothing
    expect(editor).to_be_hidden()
    cards.nth(1).get_by_test_id("edit").click()
    editor.fill('{"city": "Berlin"}')
    cards.nth(1).get_by_test_id("run").click()
    expect(cards.nth(1).get_by_test_id("call-state")).to_contain_text("ran")
    expect(cards.nth(1).get_by_test_id("call-state")).to_contain_text("edited")

    cards.nth(2).get_by_test_id("deny").click()
    expect(cards.nth(2).get_by_test_id("call-state")).to_have_text("denied")
    expect(chat.locator(".gl-model > .gl-tokens").last).to_have_text("Sunny.")
    expect(chat.get_by_test_id("send")).to_be_visible()

    chat.get_by_test_id("tint").select_option("overruled")
    expect(chat.get_by_test_id("tint-legend")).to_contain_text("Forbidden by the grammar")
    chat.get_by_text("Call as written").first.click()
    changed = chat.locator(".gl-token.gl-overruled")
    expect(changed).to_have_count(1)
    changed.hover()
    expect(chat.get_by_role("tooltip")).to_contain_text("80.0 % on tokens that the grammar forbids")
    expect(chat.get_by_role("tooltip")).to_contain_text("call:<b>get")
    book.shot("tools-overruled", chat)
    assert chat.locator(".gl-model img, .gl-model b").count() == 0
    assert chat.evaluate("e => e.scrollWidth <= e.clientWidth")

    ask(chat, "Wait.")
    expect(cards).to_have_count(4)
    cards.nth(3).get_by_test_id("always").check()
    cards.nth(3).get_by_test_id("run").click()
    expect(cards.nth(3).get_by_test_id("call-state")).to_contain_text("running")
    chat.get_by_test_id("stop").click()
    expect(cards.nth(3).get_by_test_id("call-state")).to_contain_text("stopped")
    expect(chat.get_by_test_id("send")).to_be_visible()
    book.theme("JupyterLab Dark")
    book.shot("tools-dark", chat)
    book.run(1)
    said = book.page.locator(".jp-OutputArea-output pre").last
    expect(said).to_have_text("['ran', 'ran', 'denied', 'stopped'] {'city': 'Berlin'} stopped ['weather']")
    book.check_quiet()


def test_an_object_grows_while_it_is_written(open_notebook: Callable[..., Notebook]) -> None:
    pieces = ['{"na', 'me":', '"<b>Ada', ' Lovelace"', ',"tags":', '["math', 's","poetry"', "]}"]
    book = open_notebook(
        "from support.scripted import ScriptedLab, words\nfrom gemma_lab import Chat\n"
        f"lab = ScriptedLab([words(*{pieces!r}), words(*{pieces[:4]!r})], pause=0.4)\n"
        f"chat = Chat(lab, schema={PERSON!r})\nchat",
        "print(chat.replies[0].data)",
    )
    book.run(0)
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    ask(chat, "Who?")
    value = chat.get_by_test_id("value").first
    expect(value).to_contain_text("<b>Ada")  # the text is not closed yet
    expect(value).not_to_contain_text("poetry")
    expect(chat.locator(".gl-live")).to_have_count(1)
    book.shot("object-growing", chat)
    expect(value).to_contain_text("poetry")
    expect(chat.locator(".gl-live")).to_have_count(0)
    assert value.locator("b").count() == 0
    chat.get_by_text("JSON as written").click()
    expect(chat.locator(".gl-written .gl-tokens").first).to_have_text("".join(pieces))
    ask(chat, "Cut off")
    expect(chat.get_by_test_id("value").nth(1)).to_contain_text("Ada Lovelace")
    expect(chat.get_by_test_id("value").nth(1).locator(".gl-failed")).to_contain_text("not complete JSON")
    book.shot("object-cut", chat)
    book.run(1)
    expect(book.page.locator(".jp-OutputArea-output pre").last).to_have_text(
        "{'name': '<b>Ada Lovelace', 'tags': ['maths', 'poetry']}"
    )
    book.check_quiet()


@pytest.fixture(scope="module")
def tool_trace() -> gl.Trace:
    mini = gl.load("mini-moe", progress=False)

    def weather(city: str):
        """Weather in a city."""
        return {"weather": "sunny"}

    ask = "What is the weather in Rome?"
    run = mini.run(ask, tools=[weather], temperature=0, max_new_tokens=48, tool_choice="required")
    schema = {
        "type": "object",
        "properties": {"zq": {"enum": [7, 8]}},  # no model answers so by itself
        "required": ["zq"],
        "additionalProperties": False,
    }
    return mini.trace(
        "As JSON.", previous=run.reply, schema=schema, max_new_tokens=24, attention=True, logit_lens=True
    )


@pytest.mark.parametrize("widget", [gl.Explorer, gl.RoutingExplorer, gl.AttentionExplorer])
def test_the_explorers_fold_calls_and_tint_what_the_grammar_overruled(
    browser: Browser, tmp_path: Path, tool_trace: gl.Trace, widget: type
) -> None:
    page, errors = open_saved(browser, widget(tool_trace).to_html(tmp_path / "t.html"), height=1000)
    text = page.get_by_test_id("flow")
    text.evaluate(TALL)
    for role in ("tool", "tool-call", "tool-response"):
        expect(text.locator(f".gl-of-{role} .gl-role")).to_have_count(1)
    expect(page.get_by_test_id("role-legend")).to_have_text("tool declarationtool calltool response")
    bars = {
        text.locator(f".gl-of-{role}").evaluate("e => getComputedStyle(e).borderInlineStartStyle")
        for role in ("tool", "tool-call", "tool-response")
    }
    assert len(bars) == 3  # no colour alone
    heading = text.locator(".gl-of-tool .gl-role")
    tokens = text.locator(".gl-of-tool .gl-tok")
    assert tokens.count() > 20
    heading.focus()
    heading.press("Enter")
    expect(tokens).to_have_count(0)
    expect(heading).to_have_text(re.compile(r"tool declaration · \d+ tokens"))
    expect(heading).to_be_focused()
    heading.press("Enter")
    assert tokens.count() > 20

    page.get_by_test_id("tone").select_option("overruled")
    expect(page.get_by_test_id("tint-legend")).to_contain_text("Forbidden by the grammar")
    rows = tool_trace.tokens.generated.nonzero()[0]
    generation = tool_trace.generation
    shown = [
        int(row)
        for row, overruled in zip(rows, generation.overruled, strict=False)
        if overruled and tool_trace.tokens.texts[row]
    ]
    marked = text.locator(".gl-overruled")
    expect(marked).to_have_count(len(shown))
    first = text.locator(f".gl-tok[data-t='{shown[0]}']")
    assert first.evaluate("e => e.style.backgroundColor") != ""
    first.hover()
    forbidden = 100 * float(generation.forbidden[shown[0] - rows[0]])
    expect(page.get_by_test_id("draw")).to_contain_text(f"{forbidden:.1f} % on tokens")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.locator(".gl-routing").screenshot(path=str(SHOTS / f"tools-{widget.__name__}.png"))
    page.get_by_test_id("tone").select_option("probability")
    expect(marked).to_have_count(0)
    assert errors == []
