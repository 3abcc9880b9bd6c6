"""One of every public widget, with something to show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from support.attention_traces import arabic, attended, picture
from support.routing_traces import arabic_trace, picture_trace

import gemma_lab as gl


def public_widgets() -> set[str]:
    """Return the names of all widgets that the package exports, without importing them."""
    source = Path(gl.__file__).read_text("utf-8")
    return set(re.findall(r"from \.widgets\.\w+\.widget import (\w+)", source)) & set(gl.__all__)


def every_widget(lab: gl.Lab) -> dict[str, Any]:
    """Return one of each; the chat has a turn of `lab`, a model with experts."""
    chat = gl.Chat(lab)
    chat.send("Write 47 in German words.")
    compared = gl.versus(
        lab, gl.Edit(ablate_experts=range(20)), ["Write 47 in German words.", "Which is larger, 12 or 21?"],
        progress=False, max_new_tokens=5, rounds=0,
    )  # fmt: skip
    return {
        "Chat": chat,
        "RoutingExplorer": gl.RoutingExplorer(picture_trace()),
        "AttentionExplorer": gl.AttentionExplorer(picture()),
        "Explorer": gl.Explorer(attended(arabic_trace(), arabic().attention)),
        "CausalExplorer": gl.CausalExplorer(
            lab.causal_map("Write 47 in German.", "Write 31 in German.", controls=1, progress=False), lab=lab
        ),
        "VersusExplorer": gl.VersusExplorer(compared),
        "Planner": gl.Planner(),
        "ScanExplorer": gl.ScanExplorer(lab.scan("Write 47 in German words.", draws=19, progress=False)),
    }
