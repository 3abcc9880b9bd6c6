"""Messages: what a caller may pass as a prompt, beside a prompt and as earlier turns."""

from __future__ import annotations

from corpus.row import Row
from gemma_lab.errors import BadPrompt
from gemma_lab.models.chat.messages import conversation

ROWS = [
    Row("a string", lambda _: conversation("Hi"), equals=[{"role": "user", "content": "Hi"}]),
    Row(
        "a role that does not exist",
        lambda _: conversation([{"role": "wizard", "content": "Hi"}]),
        raises=BadPrompt,
        holds=("essage 0", "wizard"),
    ),
]
