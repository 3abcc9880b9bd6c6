"""Look inside Google's Gemma 4 from a notebook.

The public names are resolved on first use, so ``import gemma_lab`` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

#: public name -> module that defines it
_HOMES = {
    "load": "gemma_lab.models.loading.load",
    "Lab": "gemma_lab.lab",
    "Reply": "gemma_lab.models.chat.reply",
    "Sampling": "gemma_lab.models.chat.sampling",
    "Cost": "gemma_lab.models.chat.cost",
    "load_image": "gemma_lab.models.media",
    "load_video": "gemma_lab.models.media",
    "load_audio": "gemma_lab.models.media",
    "catalog": "gemma_lab.family.catalog",
    "Checkpoint": "gemma_lab.family.catalog",
    "published": "gemma_lab.family.published",
    "doctor": "gemma_lab.system.report",
    "measure": "gemma_lab.system.measure",
    "Trace": "gemma_lab.trace.trace",
    "open_trace": "gemma_lab.trace.storage.trace_file",
    "Edit": "gemma_lab.interventions.edit",
    "AttentionKnockout": "gemma_lab.interventions.attention_block",
    "Patch": "gemma_lab.trace.records.activations",
    "Activations": "gemma_lab.trace.records.activations",
    "activations": "gemma_lab.trace.records.activations",
    "AttentionRequest": "gemma_lab.trace.records.attention",
    "LogitLensRequest": "gemma_lab.trace.records.logit_lens",
    "needles": "gemma_lab.evals.needle_in_a_haystack",
    "compare": "gemma_lab.analysis.compare",
    "RoutingExplorer": "gemma_lab.widgets.routing.widget",
    "AttentionExplorer": "gemma_lab.widgets.attention.widget",
    "Explorer": "gemma_lab.widgets.explorer.widget",
    "Chat": "gemma_lab.widgets.chat.widget",
    "LabError": "gemma_lab.errors",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from .analysis.compare import compare
    from .errors import LabError
    from .evals.needle_in_a_haystack import needles
    from .family.catalog import Checkpoint, catalog
    from .family.published import published
    from .interventions.attention_block import AttentionKnockout
    from .interventions.edit import Edit
    from .lab import Lab
    from .models.chat.cost import Cost
    from .models.chat.reply import Reply
    from .models.chat.sampling import Sampling
    from .models.loading.load import load
    from .models.media import load_audio, load_image, load_video
    from .system.measure import measure
    from .system.report import doctor
    from .trace.records.activations import Activations, Patch, activations
    from .trace.records.attention import AttentionRequest
    from .trace.records.logit_lens import LogitLensRequest
    from .trace.storage.trace_file import open_trace
    from .trace.trace import Trace
    from .widgets.attention.widget import AttentionExplorer
    from .widgets.chat.widget import Chat
    from .widgets.explorer.widget import Explorer
    from .widgets.routing.widget import RoutingExplorer


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
