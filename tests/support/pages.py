"""What the browser tests ask of a page, in one place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

#: How many nodes an element has, itself included.
NODES = """root => {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL);
  let count = 1;
  while (walker.nextNode()) count += 1;
  return count;
}"""
#: The colour at a place of a canvas, in CSS pixels.
PIXEL = """([canvas, x, y]) => {
  const ratio = canvas.width / canvas.clientWidth;
  return [...canvas.getContext("2d").getImageData(Math.round(x * ratio), Math.round(y * ratio), 1, 1).data];
}"""


def open_saved(
    browser: Browser, path: Path, *, height: int, width: int = 1200, **options: object
) -> tuple[Page, list[str]]:
    """Open a saved page without a network; returns it and the list that its errors go to."""
    size = {"width": 1200, "height": height}
    page = browser.new_context(offline=True, viewport=size, **options).new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    return page, errors


def settles(page: Page, read: Callable[[], object], expected: object) -> None:
    """Expect what is read of a page within 20 seconds: it may still be on its way from Python."""
    end = time.monotonic() + 20
    while (found := read()) != expected and time.monotonic() < end:
        page.wait_for_timeout(100)
    assert found == expected
