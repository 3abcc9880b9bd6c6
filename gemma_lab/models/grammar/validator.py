"""Checks of values against JSON Schema, in which patterns have a time limit and nothing is fetched.

Schemas come from servers and files, and values from a model. Python's ``re`` has no limit, and takes
exponential time for some pairs of a pattern and a text; the ``regex`` package has one. Floating-point
division says that 0.3 is no multiple of 0.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from decimal import Context, Decimal
from typing import Any

#: Seconds for the patterns of one value together. What is not decided by then is refused.
TIME_LIMIT = 1.0
#: Digits of the quotient of a multiple: those of the largest and the smallest float.
_PRECISION = 700


def validator(schema: Mapping[str, Any], *, formats: bool = False) -> Any:
    """Return a validator of `jsonschema` for one value, of the draft that the schema names.

    Parameters
    ----------
    schema
        A valid schema, as plain data.
    formats
        Whether ``format`` is checked, too.
    """
    from jsonschema import validators
    from jsonschema_specifications import REGISTRY

    draft = validators.validator_for(schema, default=validators.Draft202012Validator)
    matcher = _Matcher()
    keywords = {
        "pattern": matcher.pattern,
        "patternProperties": matcher.pattern_properties,
        "additionalProperties": matcher.additional_properties,
        "multipleOf": _multiple,
    }
    # with the registry that is passed no reference is fetched from a file or an address
    return validators.extend(draft, keywords)(
        schema, registry=REGISTRY, format_checker=draft.FORMAT_CHECKER if formats else None
    )


def _multiple(checker: Any, divisor: Any, value: Any, _schema: Any) -> Iterator[Any]:
    """Yield an error unless a number, in the digits in which it is written, is a multiple."""
    from jsonschema import ValidationError

    if not checker.is_type(value, "number"):
        return
    number, by = Decimal(repr(value)), Decimal(repr(divisor))
    if not number.is_finite() or Context(prec=_PRECISION).remainder(number, by):
        yield ValidationError(f"{value!r} is not a multiple of {divisor!r}")


class _Matcher:
    """Keywords that match texts with patterns, within `TIME_LIMIT` seconds in all."""

    def __init__(self) -> None:
        self._left = TIME_LIMIT

    def pattern(self, _checker: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
        """Yield an error if a text does not match, or if there was no time to decide it."""
        from jsonschema import ValidationError

        if not isinstance(value, str):
            return
        matches = self._matches(pattern, value)
        if isinstance(matches, str):
            yield ValidationError(matches)
        elif not matches:
            yield ValidationError(f"{value!r:.80} does not match {pattern!r:.80}")

    def pattern_properties(
        self, checker: Any, patterns: Mapping[str, Any], value: Any, _schema: Any
    ) -> Iterator[Any]:
        """Yield the errors of the properties whose names match a pattern."""
        from jsonschema import ValidationError

        if not isinstance(value, dict):
            return
        for pattern, inner in patterns.items():
            for name, item in value.items():
                matches = self._matches(pattern, name)
                if isinstance(matches, str):
                    yield ValidationError(matches)
                elif matches:
                    yield from checker.descend(item, inner, path=name, schema_path=pattern)

    def additional_properties(
        self, checker: Any, additional: Any, value: Any, schema: Mapping[str, Any]
    ) -> Iterator[Any]:
        """Yield the errors of the properties that neither a name nor a pattern declares."""
        from jsonschema import ValidationError

        if not isinstance(value, dict):
            return
        known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        extra = [
            name
            for name in value
            if name not in known and not any(self._matches(each, name) is True for each in patterns)
        ]
        if additional is False and extra:
            shown = ", ".join(repr(name)[:80] for name in extra[:3])
            yield ValidationError(
                f"Additional properties are not allowed ({shown} {'was' if len(extra) == 1 else 'were'} "
                "unexpected)"
            )
        elif isinstance(additional, dict):
            for name in extra:
                yield from checker.descend(value[name], additional, path=name)

    def _matches(self, pattern: str, text: str) -> bool | str:
        """Return whether a text matches, or why that cannot be said."""
        import regex

        started = time.monotonic()
        try:
            return regex.search(pattern, text, timeout=max(self._left, 0.001)) is not None
        except TimeoutError:
            return f"{text!r:.80} was not matched with {pattern!r:.80} in {TIME_LIMIT:g} s"
        except regex.error as error:  # the syntax of `re` and of `regex` differ in rare cases
            return f"the pattern {pattern!r:.80} cannot be read: {error}"
        finally:
            self._left -= time.monotonic() - started
