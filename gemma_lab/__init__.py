"""Look inside Google's Gemma 4 from a notebook.

The public names are resolved on first use, so ``import gemma_lab`` loads neither torch nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: public name -> module that defines it
_HOMES = {
    "load": "gemma_lab.models.load",
    "Lab": "gemma_lab.models.lab",
    "Reply": "gemma_lab.models.reply",
    "Sampling": "gemma_lab.models.sampling",
    "Cost": "gemma_lab.models.cost",
    "picture": "gemma_lab.models.media",
    "video": "gemma_lab.models.media",
    "sound": "gemma_lab.models.media",
    "catalog": "gemma_lab.family.catalog",
    "Checkpoint": "gemma_lab.family.catalog",
    "published": "gemma_lab.family.published",
    "doctor": "gemma_lab.environment",
    "Trace": "gemma_lab.trace.trace",
    "open_trace": "gemma_lab.trace.file",
    "Edit": "gemma_lab.trace.edits",
    "Cut": "gemma_lab.trace.cuts",
    "Patch": "gemma_lab.trace.activations",
    "Activations": "gemma_lab.trace.activations",
    "activations": "gemma_lab.trace.activations",
    "AttentionRequest": "gemma_lab.trace.looks",
    "LensRequest": "gemma_lab.trace.lensed",
    "needles": "gemma_lab.haystack",
    "compare": "gemma_lab.analysis.compare",
    "RoutingExplorer": "gemma_lab.widgets.routing",
    "AttentionExplorer": "gemma_lab.widgets.attention",
    "Explorer": "gemma_lab.widgets.explorer",
    "Chat": "gemma_lab.widgets.chat",
    "LabError": "gemma_lab.errors",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from .analysis.compare import compare
    from .environment import doctor
    from .errors import LabError
    from .family.catalog import Checkpoint, catalog
    from .family.published import published
    from .haystack import needles
    from .models.cost import Cost
    from .models.lab import Lab
    from .models.load import load
    from .models.media import picture, sound, video
    from .models.reply import Reply
    from .models.sampling import Sampling
    from .trace.activations import Activations, Patch, activations
    from .trace.cuts import Cut
    from .trace.edits import Edit
    from .trace.file import open_trace
    from .trace.lensed import LensRequest
    from .trace.looks import AttentionRequest
    from .trace.trace import Trace
    from .widgets.attention import AttentionExplorer
    from .widgets.chat import Chat
    from .widgets.explorer import Explorer
    from .widgets.routing import RoutingExplorer


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
