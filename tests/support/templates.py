"""Prompts as text: messages and tools through the minis' chat template or Google's revisions of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

import gemma_lab.minis
from gemma_lab.models.chat.template_messages import for_declaration, written
from gemma_lab.models.chat.tools import declared

FOLDER = Path(__file__).with_name("chat_templates")
REVISIONS = sorted(path.stem for path in FOLDER.glob("*.jinja"))


@cache
def template(name="mini"):
    """Return the source of a chat template: the minis', or one of `REVISIONS`."""
    if name == "mini":
        return Path(gemma_lab.minis.__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def prompt_text(messages, tools=None, *, name="mini", thinking=False):
    """Return what a template writes for a conversation, without the empty thought before an answer."""

    def apply(marked):
        texts, _ = render_jinja_template(
            [marked],
            tools=for_declaration(declared(tools)) or None,
            chat_template=template(name),
            bos_token="",
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
        return texts[0]

    return written(messages, apply).removesuffix("<|channel>thought\n<channel|>")
