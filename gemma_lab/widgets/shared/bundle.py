"""Join the ES modules of ``widgets/js`` into one module per widget, without a JavaScript toolchain.

The front end needs neither a CDN nor a bundler: every imported module is placed once, before its first user,
in one scope. That scope allows no two modules to declare the same top-level name, and no renaming imports.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

_ROOT = Path(__file__).parents[1] / "js"
_IMPORT = re.compile(r'^import\s+(?P<names>[^"\';]+?)\s+from\s+"(?P<path>\.[^"]+)";[ \t]*\n', re.MULTILINE)
_EXPORT = re.compile(
    r"^export default \{[^}]*\};\n|^export (?:default )?(?=(?:async )?(?:function|class|const|let)\b)",
    re.MULTILINE,
)
_DECLARED = re.compile(
    r"^(?:export (?:default )?)?(?:async )?(?:function\*?|class|const|let|var)\s+(\w+|[\[{][^=]*?[\]}])",
    re.MULTILINE,
)
_DOC_COMMENT = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/[ \t]*\n", re.MULTILINE | re.DOTALL)


def bundle(entry: str, *, root: Path = _ROOT) -> str:
    """Return a module with everything that it imports, directly or not, placed before its first user.

    Parameters
    ----------
    entry
        Path of the module below `root`, e.g. ``"chat/chat.js"``. Only this module keeps its exports.
    root
        Folder of the modules.

    Raises
    ------
    ValueError
        If two of the modules declare the same top-level name, or an import cannot be joined: a renaming one,
        one of a complete module, or one that leaves `root`.
    """
    parts: dict[str, str] = {}
    declared: dict[str, str] = {}

    def visit(path: str) -> None:
        if path in parts:
            return
        source = (root / path).read_text(encoding="utf-8")
        parts[path] = ""  # an import circle ends here
        for match in _IMPORT.finditer(source):
            visit(_imported(path, match["path"], match["names"]))
        body = _IMPORT.sub("", source)
        if leftover := re.search(r"^import\b.*", body, re.MULTILINE):
            raise ValueError(f"{path}: the bundler cannot join {leftover[0]!r}")
        for name in top_level_names(body):
            if (other := declared.setdefault(name, path)) != path:
                raise ValueError(f"{path} and {other} both declare {name} at the top level")
        body = _DOC_COMMENT.sub("", body)
        del parts[path]
        parts[path] = body if path == entry else _EXPORT.sub("", body)

    visit(entry)
    return "\n".join(parts.values())


def top_level_names(source: str) -> list[str]:
    """Return the names that a module declares at its top level, in the order of the file."""
    return [name for found in _DECLARED.findall(source) for name in re.findall(r"\w+", found)]


def stylesheet(*paths: str) -> str:
    """Return the CSS files at some paths below ``widgets/js`` as one text."""
    return "\n".join((_ROOT / path).read_text(encoding="utf-8") for path in paths)


def _imported(importer: str, path: str, names: str) -> str:
    """Return the path of an imported module below the root, after checking what is imported of it."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(importer), path))
    if target.startswith("..") or " as " in f" {names} " or "*" in names:
        raise ValueError(f"{importer}: the bundler cannot join an import of {names} from {path}")
    return target
