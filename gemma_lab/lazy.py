"""Lazy namespaces: public names that are imported on first use.

A namespace module lists its names once more than Python needs: as imports under ``if TYPE_CHECKING:``, which
editors and type checkers read, and in ``__all__``, which fixes their order. `lazy_names` reads the imports of
the former, so no second table of modules has to agree with them.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import MissingExtra

_MODELS = frozenset(
    ("accelerate", "jsonschema", "llguidance", "safetensors", "soxr", "torch", "torchvision", "transformers")
)
"""Packages of the extra `models`, without which traces are still opened, analysed and drawn."""


def lazy_names(module: dict[str, Any]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a lazy namespace (PEP 562).

    Parameters
    ----------
    module
        Its ``globals()``, with ``__all__``. Every ``from .module import name`` under ``if TYPE_CHECKING:``
        becomes an attribute that imports its module on first use. Where that needs a package of the extra
        ``models`` that is not installed, the attribute raises `MissingExtra`.
    """
    homes: dict[str, tuple[str, str]] = {}
    for block in ast.parse(Path(module["__file__"]).read_text(encoding="utf-8")).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.level:
                    home = "." * node.level + (node.module or "")
                    homes |= {alias.name: (home, alias.name) for alias in node.names}

    def resolve(name: str) -> Any:
        if name not in homes or name not in module["__all__"]:
            import difflib  # here, so that importing the package stays cheap

            near = difflib.get_close_matches(name, module["__all__"], n=1)
            suggestion = f". Did you mean {near[0]!r}?" if near else ""
            msg = f"module {module['__name__']!r} has no attribute {name!r}{suggestion}"
            raise AttributeError(msg)
        home, attribute = homes[name]
        try:
            if home.strip("."):
                module[name] = getattr(importlib.import_module(home, module["__package__"]), attribute)
            else:
                module[name] = importlib.import_module(home + attribute, module["__package__"])
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in _MODELS:
                raise
            raise MissingExtra(
                f"{module['__name__']}.{name} runs a model, and {error.name} is not installed.",
                hint='pip install "gemma_lab[models]"; without it, traces open, and the planner works.',
            ) from error
        return module[name]

    return resolve, lambda: sorted(module["__all__"])
