"""Schemas: declarations of tools, arguments of calls, and results."""

from __future__ import annotations

from corpus.row import Row
from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.tools import declared

ROWS = [
    Row(
        "a name with a space",
        lambda _: declared([{"name": "two words"}]),
        raises=BadPrompt,
        holds=("two words",),
    ),
]
