"""References within a schema, and schemas that nothing ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import BadSchema

#: Most parts of a schema that are visited to find one that nothing ends.
_MOST = 200_000


def pointed(root: Mapping[str, Any], reference: Any) -> Any:
    """Return what a reference within a schema points to; None for any other reference."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    target: Any = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
            target = target[int(name)]
        elif isinstance(target, Mapping) and name in target:
            target = target[name]
        else:
            return None
    return target


def check_finite(schema: Mapping[str, Any]) -> None:
    """Raise `BadSchema` for a schema whose values never end, or that is defined by nothing but itself.

    ``{"$ref": "#"}`` is both. An object that requires another of its own kind is the first: its grammar could
    be begun and never closed. A schema that is any of itself and others is the second: a check of a value
    would not end.
    """
    if circle := _circle(schema):
        raise BadSchema(
            f"The schema is defined by itself: {' → '.join(circle)}.",
            hint="A schema may refer to itself in properties and items only.",
        )
    references = _Ends(schema)
    while not references.node(schema):
        if not references.follow():
            raise BadSchema(
                "The schema refers to itself without an end: no value of it is complete.",
                hint='Let one of the references be optional: {"anyOf": [{"$ref": …}, {"type": "null"}]}.',
            )


def _circle(schema: Mapping[str, Any]) -> list[str]:
    """Return references that lead back to the first of them without a property or an item between."""
    edges: dict[str, list[str]] = {}
    left = ["#", *_references(schema)]
    while left:
        reference = left.pop()
        if reference not in edges:
            edges[reference] = list(_in_place(pointed(schema, reference)))
            left += edges[reference]
    done: set[str] = set()
    for start in edges:
        path, waiting = [start], [iter(edges[start])]
        while waiting and start not in done:
            following = next(waiting[-1], None)
            if following is None:
                waiting.pop()
                done.add(path.pop())
            elif following in path:
                return [*path[path.index(following) :], following]
            elif following not in done:
                path.append(following)
                waiting.append(iter(edges[following]))
    return []


def _references(schema: Any) -> Iterator[str]:
    """Yield all references within a schema."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            left += node.values()
        elif isinstance(node, list):
            left += node


def _in_place(schema: Any) -> Iterator[str]:
    """Yield the references of a schema that concern the same value."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            left += [part for key in ("allOf", "anyOf", "oneOf") for part in _listed(node, key)]


class _Ends:
    """Which references have a value that ends: the least fixed point, one level of references a step."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._met: set[str] = set()
        self.known: set[str] = set()
        self.left = _MOST

    def follow(self) -> bool:
        """Add the references whose targets end, as far as is known; return whether anything was new."""
        before = len(self._met), len(self.known)
        for reference in sorted(self._met - self.known):
            target = pointed(self._root, reference)
            if target is None or self.node(target):
                self.known.add(reference)
        return before != (len(self._met), len(self.known))

    def node(self, schema: Any) -> bool:
        """Return whether a value of the schema ends if those of the known references do."""
        self.left -= 1
        if not isinstance(schema, Mapping) or self.left <= 0:
            return True
        if isinstance(schema.get("$ref"), str):
            self._met.add(schema["$ref"])
            if schema["$ref"] not in self.known:
                return False
        if "const" in schema or "enum" in schema:
            return True
        if not all(self.node(part) for part in _listed(schema, "allOf")):
            return False
        for key in ("anyOf", "oneOf"):
            if (parts := _listed(schema, key)) and not any(self.node(part) for part in parts):
                return False
        if schema.get("type") in ("object", ["object"]):
            return all(self.node(part) for part in _required(schema))
        if schema.get("type") in ("array", ["array"]):
            return all(self.node(part) for part in _first_items(schema))
        return True


def _listed(schema: Mapping[str, Any], key: str) -> list[Any]:
    return schema[key] if isinstance(schema.get(key), list) else []


def _required(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of the properties that an object must have."""
    properties = schema.get("properties") if isinstance(schema.get("properties"), Mapping) else {}
    return [(properties or {}).get(name, schema.get("additionalProperties", True))
            for name in _listed(schema, "required")]  # fmt: skip


def _first_items(schema: Mapping[str, Any]) -> list[Any]:
    """Return the schemas of the items that an array must have."""
    least = schema.get("minItems", 0)
    if not isinstance(least, int | float) or least < 1:
        return []
    first = _listed(schema, "prefixItems") or _listed(schema, "items")
    rest = [schema.get("items", True)] if len(first) < least else []
    return [*first[: int(least)], *rest]
