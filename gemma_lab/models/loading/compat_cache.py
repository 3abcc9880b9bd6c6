"""Name of the cache argument of models: ``past_key_values``, from transformers 5.24 on ``cache``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

_NAMES = ("cache", "past_key_values")


def cache_name(model: Any) -> str:
    """Return the name of the cache argument of a model's ``forward``."""
    taken = inspect.signature(model.forward).parameters
    return next((name for name in _NAMES if name in taken), _NAMES[-1])


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """Return the cache among the arguments or the outputs of a forward pass; None without one."""
    return next((arguments[name] for name in _NAMES if arguments.get(name) is not None), None)
