"""What a conversation holds, kind by kind."""

from __future__ import annotations


def parts(kind, messages):
    """Return the media (or, for ``"text"``, the texts) of messages, in order."""
    contents = [message["content"] for message in messages]
    listed = [[{"type": "text", "text": each}] if isinstance(each, str) else each for each in contents]
    return [part[kind] for content in listed for part in content if part["type"] == kind]
