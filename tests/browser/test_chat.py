"""The chat widget, used in a browser as a person would use it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Notebook

SCRIPTED = """
import threading
from scripted import ScriptedLab, token
from gemma_lab import Chat, LabError
"""
DEMO = SCRIPTED + """
from gemma_lab.models.reply import Alternative, Token
def draw(text, *choices, entropy=0.8, kind="text"):
    others = tuple(Alternative(i, t, p) for i, (t, p) in enumerate(choices))
    at = next(i for i, o in enumerate(others) if o.text == text)
    return Token(id=at, text=text, logprob=others[at].logprob, entropy=entropy, alternatives=others, kind=kind)
def words(*pieces):
    return [token(p, -0.05 * (3 * i * i % 41) / 2) for i, p in enumerate(pieces)]
script = [
    [token("The ", -.1, "thought"), token("picture ", -.3, "thought"), token("has a hook.", -.5, "thought"),
     *words("The", " digit", " in", " the", " picture", " is", " "),
     draw("7", ("7", -.061), ("1", -3.4), ("9", -4.1), ("2", -5.2), ("4", -6.0)), token(".", -.01),
     Token(0, "", -.02, .1, (Alternative(0, "<turn|>", -.02), Alternative(2, ",", -4.2)), "special")],
    words("العدد", " سبعة", " يأتي", " بعد", " ستة", " وقبل", " ثمانية", "."),
    [LabError("The prompt and the answer need 4,310 tokens; the context holds 4,096: 214 too many.",
              hint="Begin a new conversation, or lower the longest answer.")],
    words("सात", " अंक", " है", "।", "\\n", "七", "は", "数字", "です", "。", "\\n", "Sieben", " ist", " eine", " Ziffer", "."),
]
lab = ScriptedLab(script, name="mini-moe", pause=.02)
chat = Chat(lab)
chat
"""


def ask(chat, text: str) -> None:
    chat.get_by_label("Your question").fill(text)
    chat.get_by_label("Your question").press("Enter")


def test_look(open_notebook: Callable[..., Notebook]) -> None:
    book = open_notebook(DEMO)
    book.run_all()
    chat = book.page.locator(".gl-chat")
    expect(chat).to_be_visible(timeout=60_000)
    book.shot("look-empty")
    chat.get_by_test_id("file").set_input_files("/tmp/seven.png")
    expect(chat.locator(".gl-thumb img")).to_be_visible()
    chat.get_by_label("Your question").fill("What digit is in the picture?")
    book.shot("look-draft", chat)
    chat.get_by_label("Your question").press("Enter")
    expect(chat.locator(".gl-foot").first).to_contain_text("tokens/s")
    chat.get_by_test_id("tint").click()
    chat.locator(".gl-token", has_text="7").hover()
    expect(chat.get_by_role("tooltip")).to_be_visible()
    book.shot("look-hover")
    ask(chat, "اكتب جملة عن العدد سبعة")
    expect(chat.locator(".gl-foot")).to_have_count(2)
    expect(chat.locator(".gl-live")).to_have_count(0)
    ask(chat, "And now something far too long")
    expect(chat.locator(".gl-failed")).to_be_visible()
    book.shot("look-failed", chat)
    ask(chat, "Seven in other scripts?")
    expect(chat.locator(".gl-live")).to_have_count(0)
    chat.get_by_test_id("settings").click()
    book.shot("look-settings", chat)
    book.theme("JupyterLab Dark")
    book.shot("look-dark-settings", chat)
    chat.get_by_test_id("settings").click()
    chat.locator(".gl-log").evaluate("e => e.scrollTop = 0")
    chat.locator(".gl-token", has_text="7").hover()
    book.shot("look-dark", chat)
    chat.evaluate("e => e.style.width = '400px'")
    book.shot("look-narrow-dark", chat)
    book.theme("JupyterLab Light")
    chat.get_by_test_id("settings").click()
    book.shot("look-narrow", chat)
    book.check_quiet()
