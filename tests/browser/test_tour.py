"""A page of the tour in a real browser: the widget is drawn from the file alone, without a kernel or a network."""

from __future__ import annotations

import nbformat

from tools.notebooks import form
from tools.notebooks.execute import execute
from tools.notebooks.tour import page as exported

CELL = """
import gemma_lab as gl

chat = gl.Chat(gl.load("mini-moe", progress=False), seed=0)
chat.send("Write 7 in English words, </script><img src=x onerror='window.stolen = 1'>")
chat
"""


def test_the_chat_widget_is_alive_in_the_saved_page(browser, tmp_path):
    path = tmp_path / "00_a.ipynb"
    cell = nbformat.v4.new_code_cell(CELL, id="chat")
    path.write_text(form.dumps(nbformat.v4.new_notebook(cells=[cell])), encoding="utf-8")
    saved = tmp_path / "00_a.html"
    saved.write_text(exported(execute(path, static=False).notebook, title="A"), encoding="utf-8")

    context = browser.new_context(offline=True)
    page, errors, asked = context.new_page(), [], []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(saved.as_uri())
    page.wait_for_selector(".gemma-lab-live textarea:visible")
    assert "Write 7 in English words" in page.inner_text(".gemma-lab-live")
    assert page.evaluate("window.stolen") is None
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    context.close()
