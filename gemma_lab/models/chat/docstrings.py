"""Descriptions in the docstring of a function: of itself and of its arguments."""

from __future__ import annotations

import inspect
import re

_GOOGLE = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_NUMPY = re.compile(r"^Parameters\n-{3,}\n", re.MULTILINE)
_SPHINX = re.compile(r"^:param (?:[\w\[\], |.]+ )?(\w+):\s*((?:.|\n(?!\s*:|\s*\n))*)", re.MULTILINE)


def summary(documented: str) -> str:
    """Return the first paragraph of a docstring on one line, without a full stop at its end."""
    paragraph = inspect.cleandoc(documented).split("\n\n", 1)[0]
    lines = [line.strip() for line in paragraph.split("\n")]
    end = next(
        (index for index, line in enumerate(lines) if line.startswith(":") or _GOOGLE.match(line)), None
    )
    return " ".join(lines[:end]).rstrip(".")


def described_arguments(documented: str) -> dict[str, str]:
    """Return the description of each argument: Google's, NumPy's or Sphinx's style."""
    text = inspect.cleandoc(documented)
    if entries := _SPHINX.findall(text):
        return {name: " ".join(words.split()) for name, words in entries if words.strip()}
    if numpy := _NUMPY.search(text):
        return _entries(text[numpy.end() :].split("\n"), re.compile(r"^([\w, ]+?)(?:\s*:.*)?$"), inline=False)
    lines = text.split("\n")
    start = next((index for index, line in enumerate(lines) if _GOOGLE.match(line)), None)
    if start is None:
        return {}
    body: list[str] = []
    for line in lines[start + 1 :]:
        if line.strip() and not line.startswith((" ", "\t")):
            break
        body.append(line)
    cleaned = inspect.cleandoc("\n" + "\n".join(body)).split("\n")
    return _entries(cleaned, re.compile(r"^(\w+)\s*(?:\([^()]*\))?:\s*(.*)$"), inline=True)


def _entries(lines: list[str], heading: re.Pattern[str], *, inline: bool) -> dict[str, str]:
    """Return the entries of a docstring's section: a heading at the margin, then indented lines."""
    entries: dict[str, list[str]] = {}
    names: list[str] = []
    for index, line in enumerate(lines):
        if line.startswith((" ", "\t")) or not line.strip():
            for name in names:
                entries[name].append(line.strip())
            continue
        following = lines[index + 1] if index + 1 < len(lines) else ""
        match = heading.match(line)
        if match is None or (not inline and following.startswith("---")):
            break
        names = [name.strip() for name in match[1].split(",")]
        for name in names:
            entries[name] = [match[2]] if inline else []
    return {name: text for name, words in entries.items() if (text := " ".join(" ".join(words).split()))}
