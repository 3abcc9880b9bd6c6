"""The static fallback of the chat widget, for saved notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..base.html import Markup, bdi, details, join, tag
from ..base.text import percent, visible
from .media import frame_strip, waveform
from .reply import ACCEPTED, OVERRULED, REJECTED

Turn = Mapping[str, Any]
Card = Mapping[str, Any]

_TEXT = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:plaintext;text-align:start"
_NAME = "font-weight:600;font-size:.85em;opacity:.75"
_CODE = "white-space:pre-wrap;overflow-wrap:anywhere;margin:.25em 0;text-align:left;font-family:monospace"
#: Okabe–Ito green and blue, beside words: calls, and what they returned.
_CALL, _RESULT = "border-inline-start:3px solid #009e73", "border-inline-start:3px double #0072b2"
_FINISH = {"length": "cut off at the token limit", "stopped": "stopped by the user"}


def chat_html(
    turns: Sequence[Turn], *, name: str, calls: Mapping[str, Sequence[Card]] | None = None
) -> Markup:
    """Return a conversation as script-free HTML.

    Parameters
    ----------
    turns
        The turns as plain values, see `gemma_lab.widgets.chat.turns`.
    name
        The model's name, shown above its answers.
    calls
        The cards of its calls by the key of their turn, see `gemma_lab.widgets.chat.call_cards`.
    """
    if not turns:
        title = tag("div", "Chat with ", bdi(visible(name)), style=_NAME)
        return title + tag("div", "Run this notebook to talk to the model here.")
    cards = calls or {}
    body = (
        _question(turn) if turn["role"] == "user" else _answer(turn, name, cards.get(str(turn["key"]), ()))
        for turn in turns
    )
    return tag("div", *body, style="max-width:46em;line-height:1.5")


def chat_text(turns: Sequence[Turn], *, calls: Mapping[str, Sequence[Card]] | None = None) -> str:
    """Return a conversation as plain text, without what differs from run to run."""
    cards = calls or {}
    lines = []
    for turn in turns:
        made = cards.get(str(turn["key"]), ())
        lines += [] if made and not str(turn.get("text", "")).strip() else [_line(turn)]
        lines += [_call_line(card) for card in made]
    return "\n".join(lines)


def _line(turn: Turn) -> str:
    if turn["role"] == "user":
        return visible(
            f"You: {''.join(f'[{_description(medium)}] ' for medium in turn['media'])}{turn['text']}"
        )
    if turn["state"] == "live":
        return "Model: (still writing)"
    if turn["state"] == "failed":
        return visible(f"Model: (failed) {turn['error']['what']}")
    note = _FINISH.get(turn["finish_reason"])
    return visible(f"Model: {turn['text']}{f' ({note})' if note else ''}")


def _block(name: object, *parts: object) -> Markup:
    return tag("div", tag("div", name, style=_NAME), *parts, style="margin:0 0 .9em 0")


def _paragraph(*content: object) -> Markup:
    return tag("div", *content, dir="auto", style=_TEXT)


def _description(medium: Mapping[str, Any]) -> str:
    """Describe an attached image, video or sound in words."""
    if medium["kind"] == "audio":
        return f"{medium['name']}, {medium['seconds']:.2f} s"
    size = f"{medium['width']} × {medium['height']}"
    if medium["kind"] == "video":
        return f"{medium['name']}, {medium['seen']} of {medium['total']} frames, {size}"
    return f"{medium['name']}, {size}"


def _medium(medium: Mapping[str, Any]) -> Markup:
    if medium["kind"] == "video":
        return frame_strip(medium["frames"], name=medium["name"])
    if medium["kind"] == "audio":
        return waveform(medium["peaks"], label=_description(medium))
    style = "max-width:120px;max-height:120px;margin:.25em .5em .25em 0;vertical-align:top"
    return tag("img", src=medium["src"], alt=f"{visible(_description(medium))} pixels", style=style)


def _question(turn: Turn) -> Markup:
    media = [_medium(medium) for medium in turn["media"]]
    return _block("You", tag("div", *media) if media else "", _paragraph(visible(turn["text"])))


def _answer(turn: Turn, name: str, cards: Sequence[Card]) -> Markup:
    title = bdi(visible(name))
    if turn["state"] == "live":
        return _block(title, tag("div", "Still writing …"))
    parts = []
    if turn.get("thinking"):
        parts.append(details("Thinking", _paragraph(visible(turn["thinking"]))))
    parts.append(_paragraph(*(_token(token) for token in turn["tokens"] if token[2] == "text")))
    written = [_token(token) for token in turn["tokens"] if token[2] == "tool"]
    if written:
        parts.append(
            details("Call as written", tag("pre", *written, style=f"{_CODE};padding-left:.6em;{_CALL}"))
        )
    parts += [_call(card) for card in cards]
    if turn["state"] == "failed":
        error = turn["error"]
        hint = tag("div", f"→ {visible(error['hint'])}") if error["hint"] else ""
        parts.append(tag("div", tag("b", "No answer."), f" {visible(error['what'])}", hint, role="note"))
    elif turn.get("invalid"):
        parts.append(tag("div", visible(turn["invalid"]["what"]), role="note", style=_NAME))
    elif turn["finish_reason"] in _FINISH:
        parts.append(tag("div", _FINISH[turn["finish_reason"]], style=_NAME))
    return _block(title, join(parts))


def _token(token: Sequence[Any]) -> Markup:
    """Return one token with its probability and the most likely alternatives as a hover title."""
    text, logprob, _, _, alternatives, _, effect, drafted = token
    if not text:
        return Markup("")
    listed = ", ".join(f"{visible(other)!r} {_percent(value)}" for other, value in alternatives)
    title = f"probability {_percent(logprob)}" + (f" — {listed}" if listed else "")
    styles = [] if drafted is None else [ACCEPTED if drafted else REJECTED]
    if effect is not None and effect[2]:
        title += f"; the grammar forbade the first choice {visible(effect[1])!r}"
        styles.append(OVERRULED)
    return tag("span", visible(text), title=title, style=";".join(styles) or None)


def _call(card: Card) -> Markup:
    """Return a call with its arguments, and its result folded; what went wrong is not folded."""
    source = f" of {visible(card['source'])}" if card["source"] else ""
    edited = ", arguments edited" if card["edited"] else ""
    head = tag(
        "div", tag("b", bdi(visible(card["name"] or "unreadable call"))), f"{source}: {card['state']}{edited}"
    )
    arguments = tag("pre", visible(card["arguments"]), dir="auto", style=_CODE)
    shown = tag("div", head, arguments, style=f"padding-left:.6em;{_CALL}")
    if not card["result"]:
        return shown
    result = tag("pre", visible(card["result"]), dir="auto", style=f"{_CODE};padding-left:.6em;{_RESULT}")
    return shown + (details("Result", result) if card["state"] == "ran" else result)


def _call_line(card: Card) -> str:
    arguments = " ".join(card["arguments"].split())
    result = f" {' '.join(card['result'].split())[:200]}" if card["result"] else ""
    return visible(f"Call: {card['name'] or 'unreadable call'} {arguments} ({card['state']}){result}")


def _percent(logprob: float | None) -> str:
    return percent(0.0 if logprob is None else math.exp(logprob))
