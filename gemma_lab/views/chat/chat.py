"""The static form of a conversation: what a saved notebook shows where no widget can live."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.html import Markup, escape

Turn = Mapping[str, Any]

# Controls that would act instead of being seen: C0 and C1 except tab and newline, and what overrides, embeds
# or isolates writing direction. Marks that text needs (joiners, LRM, RLM) stay.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;text-align:start"
_NAME = "font-weight:600;font-size:.85em;opacity:.75"
_FINISHES = {"length": "cut off at the longest answer allowed", "stopped": "stopped by hand"}


def visible(text: str) -> str:
    """Return `text` with controls and direction overrides spelled out, e.g. ``[U+202E]``."""
    return _CONTROLS.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def chat_html(turns: Sequence[Turn], *, name: str) -> Markup:
    """Return a conversation as script-free HTML.

    Parameters
    ----------
    turns
        The turns as plain values, see `gemma_lab.widgets.chat.turns`.
    name
        The model's name, shown above its answers.
    """
    if not turns:
        return Markup(
            f'<div style="{_NAME}">Chat with <bdi dir="auto">{_shown(name)}</bdi></div>'
            "<div>Run this notebook to talk to the model here.</div>"
        )
    body = "".join(_question(turn) if turn["role"] == "user" else _answer(turn, name) for turn in turns)
    return Markup(f'<div style="max-width:46em;line-height:1.5">{body}</div>')


def chat_text(turns: Sequence[Turn]) -> str:
    """Return a conversation as plain text, the same on every run that says the same."""
    return "\n".join(_line(turn) for turn in turns)


def _line(turn: Turn) -> str:
    if turn["role"] == "user":
        return visible(f"You: {''.join(f'[{_told(medium)}] ' for medium in turn['media'])}{turn['text']}")
    if turn["state"] == "live":
        return "Model: (still writing)"
    if turn["state"] == "failed":
        return visible(f"Model: (failed) {turn['error']['what']}")
    note = _FINISHES.get(turn["finish_reason"])
    return visible(f"Model: {turn['text']}{f' ({note})' if note else ''}")


def _shown(text: str) -> Markup:
    return escape(visible(text))


def _block(name: str, *parts: str) -> str:
    return f'<div style="margin:0 0 .9em 0"><div style="{_NAME}">{name}</div>{"".join(parts)}</div>'


def _paragraph(content: str) -> str:
    return f'<div dir="auto" style="{_TEXT}">{content}</div>'


def _told(medium: Mapping[str, Any]) -> str:
    """Return what there is to say of a medium in words."""
    if medium["kind"] == "audio":
        return f"{medium['name']}, {medium['seconds']:.2f} s"
    size = f"{medium['width']} × {medium['height']}"
    if medium["kind"] == "video":
        return f"{medium['name']}, {medium['seen']} of {medium['total']} frames, {size}"
    return f"{medium['name']}, {size}"


def _medium(medium: Mapping[str, Any]) -> str:
    from .media import frame_strip, waveform  # which takes `visible` from here

    if medium["kind"] == "video":
        return frame_strip(medium["frames"], name=medium["name"])
    if medium["kind"] == "audio":
        return waveform(medium["peaks"], label=_told(medium))
    return (
        f'<img src="{escape(medium["src"])}" alt="{_shown(_told(medium))} pixels" '
        'style="max-width:120px;max-height:120px;margin:.25em .5em .25em 0;vertical-align:top">'
    )


def _question(turn: Turn) -> str:
    media = "".join(map(_medium, turn["media"]))
    return _block("You", f"<div>{media}</div>" if media else "", _paragraph(_shown(turn["text"])))


def _answer(turn: Turn, name: str) -> str:
    who = f'<bdi dir="auto">{_shown(name)}</bdi>'
    if turn["state"] == "live":
        return _block(who, "<div>Still writing …</div>")
    parts = []
    if turn.get("thinking"):
        parts.append(f"<details><summary>Thought</summary>{_paragraph(_shown(turn['thinking']))}</details>")
    spoken = [token for token in turn["tokens"] if token[2] == "text"]
    parts.append(_paragraph("".join(map(_token, spoken))))
    if turn["state"] == "failed":
        error = turn["error"]
        hint = f"<div>→ {_shown(error['hint'])}</div>" if error["hint"] else ""
        parts.append(f'<div role="note"><b>No answer.</b> {_shown(error["what"])}{hint}</div>')
    elif turn["finish_reason"] in _FINISHES:
        parts.append(f'<div style="{_NAME}">{_FINISHES[turn["finish_reason"]]}</div>')
    return _block(who, *parts)


def _token(token: Sequence[Any]) -> str:
    """Return one token with its probability and alternatives as a hover title."""
    text, logprob, _, _, others, _ = token
    if not text:
        return ""
    listed = ", ".join(f"{visible(other)!r} {percent(value)}" for other, value in others)
    title = f"probability {percent(logprob)}" + (f" — {listed}" if listed else "")
    return f'<span title="{escape(title)}">{_shown(text)}</span>'


def percent(logprob: float | None) -> str:
    """Return a log-probability (nats) as a percentage of two significant digits or better."""
    if logprob is None:
        return "0 %"
    share = 100 * math.exp(logprob)
    return f"{share:.1f} %" if share >= 0.1 else f"{share:.2g} %"
