"""Text from people, models and files made safe to show: controls spelled out, long texts shortened."""

from __future__ import annotations

import re

# Characters that have an effect instead of a glyph: C0 and C1 controls except tab and newline, and those that
# override, embed or isolate the writing direction. Marks that text needs (joiners, LRM, RLM) stay.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_WHITESPACE = {" ": "␣", "\n": "↵", "\t": "⇥"}


def visible(text: str) -> str:
    """Spell out control characters and direction overrides, e.g. ``[U+202E]``; keep everything else."""
    return _CONTROLS.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def visible_token(text: str) -> str:
    """Make a single token visible: white space, line ends, every unprintable character."""
    shown = "".join(_WHITESPACE.get(c, c if c.isprintable() else f"U+{ord(c):04X}") for c in text)
    return shown or "∅"


def isolated(text: str) -> str:
    """Isolate the direction of a token in an attribute, where ``<bdi>`` is impossible (UAX 9, FSI … PDI)."""
    return f"\u2068{visible_token(text)}\u2069"


def percent(probability: float) -> str:
    """Format a probability: ``62 %``, ``0.4 %``, ``< 0.1 %``, and ``0 %`` only for 0."""
    share = 100 * probability
    if share < 0.1:
        return "< 0.1 %" if share > 0 else "0 %"
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


def shorten(text: str, length: int) -> str:
    """Cut text to at most `length` characters, with an ellipsis where something is left out."""
    return text if len(text) <= length else text[: length - 1] + "…"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is 1: ``"1 layer"``, ``"2,048 tokens"``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
