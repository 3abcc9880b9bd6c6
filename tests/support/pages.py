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
#: Texts of an element whose contrast with what lies behind them is below 3, with that contrast.
FAINT = """root => {
  const parse = text => {
    const parts = (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [...parts.slice(0, 3).map(part => part * scale), parts.length > 3 ? parts[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const behind = element => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      if (style.backgroundImage !== "none") return null;  // a picture: not judged
      layers.push(parse(style.backgroundColor));
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const light = colour => {
    const [r, g, b] = colour.slice(0, 3).map(value => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility() || element.closest("svg, script, style")) continue;
    const under = behind(element);
    if (!under) continue;
    const own = over(parse(getComputedStyle(element).color), under);
    const [high, low] = [light(own), light(under)].sort((one, other) => other - one);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 3) found.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
  }
  return found;
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
