"""Read the fields of a request: each of its type and within its range, or an error that names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .errors import ApiError, invalid


class Fields:
    """The fields of a JSON object, read one by one; `finish` refuses those that nobody read.

    A field that is null counts as left out, as in OpenAI's API.

    Parameters
    ----------
    value
        What should be an object.
    path
        Where it is in the request, e.g. ``"messages[2]"``; ``""`` for the request itself.
    """

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise invalid(f"{path or 'The request'} is no JSON object.", path or None)
        self._values = {key: item for key, item in value.items() if item is not None}
        self._path = path
        self._read: set[str] = set()

    def path(self, name: str) -> str:
        """Return where a field is in the request."""
        return f"{self._path}.{name}" if self._path else name

    def fault(self, name: str, message: str) -> ApiError:
        """Return the error of a field."""
        return invalid(f"{self.path(name)} {message}", self.path(name))

    def has(self, name: str) -> bool:
        """Return whether a field is there and not null."""
        return name in self._values

    def any(self, name: str) -> Any:
        """Return a field as it is, None if it is left out."""
        self._read.add(name)
        return self._values.get(name)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self.any(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.fault(name, "must be a string.")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return a boolean."""
        value = self.any(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fault(name, "must be true or false.")
        return value

    def integer(self, name: str, *, minimum: int, maximum: int) -> int | None:
        """Return a whole number in a range, None if it is left out."""
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise self.fault(name, f"must be a whole number from {minimum:,} to {maximum:,}.")
        return value

    def number(self, name: str, *, minimum: float, maximum: float) -> float | None:
        """Return a number in a range, None if it is left out."""
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            raise self.fault(name, f"must be a number from {minimum:g} to {maximum:g}.")
        return float(value)

    def list(self, name: str, *, most: int) -> list[Any]:
        """Return a list of at most so many items, an empty one if it is left out."""
        value = self.any(name)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            raise self.fault(name, f"must be a list of at most {most:,} items.")
        return value

    def object(self, name: str) -> Fields | None:
        """Return the fields of an object, None if it is left out."""
        value = self.any(name)
        return None if value is None else Fields(value, self.path(name))

    def skip(self, names: Collection[str]) -> None:
        """Take note of fields that change nothing."""
        self._read.update(names)

    def unsupported(self, defaults: Mapping[str, Collection[Any]]) -> None:
        """Refuse fields that have another value than the listed ones, which ask for nothing."""
        for name, harmless in defaults.items():
            value = self.any(name)
            if value is not None and not any(value == each for each in harmless):
                raise invalid(
                    f"{self.path(name)} is not supported by this server.", self.path(name), "unsupported"
                )

    def finish(self) -> None:
        """Raise `ApiError` for a field that was not read: a typing error, or something not supported."""
        unknown = sorted(self._values.keys() - self._read)
        if unknown:
            name = self.path(str(unknown[0])[:80])
            raise invalid(f"Unrecognized request argument: {name}", name, "unknown_parameter")
