"""Convert Python values to plain JSON values, and refuse control tokens of the chat format in them.

Data from outside (a tool's result, the arguments of a call) reach the model only through `plain`, which
returns only ``None``, booleans, numbers, strings, lists and dicts with string keys.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np

from ...checks import type_name
from ...errors import BadPrompt

_NO_SCALAR = object()
_MEDIA = __name__.split(".")[0] + ".models.media"
#: Deepest nesting of lists and dicts.
MAX_DEPTH = 16
#: Maximum number of values, nested ones included: more than any context of the family can hold.
MAX_VALUES = 1_000_000
#: Longest number, in characters: what `gemma_lab.models.chat.tool_call_parser` reads back.
MAX_DIGITS = 400

_PAIRED = "turn|tool|tool_call|tool_response|channel|image|audio"
#: The control tokens of the chat format. The model would read them as structure, even in data from outside.
_CONTROL = re.compile(
    rf'<\|(?:{_PAIRED})>|<(?:{_PAIRED})\|>|<\|(?:think|image|audio|video|")\|>|<(?:bos|eos|pad)>'
)


def plain(value: Any, where: str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Convert a value to plain JSON values and check the result for control tokens.

    Parameters
    ----------
    value
        Anything that has one plain form: what JSON has, numpy's and torch's scalars and arrays, ``Decimal``
        and ``Fraction`` (numbers), dates and times (ISO 8601), enum members (their values), UUIDs and paths
        (strings), dataclass and pydantic instances, named tuples and mappings (dicts), tables of pandas,
        polars and pyarrow (a list of records), other sequences and sets (lists).
    where
        What the value is, to begin an error with.
    max_depth
        Deepest nesting of lists and dicts.

    Raises
    ------
    BadPrompt
        If a value has no plain form (the message names its path and type), is NaN or infinite, if two keys
        become the same, if it is nested too deep or contains itself, if it holds more than `MAX_VALUES`
        values, or if a text holds a control token or half a surrogate pair.
    """
    _check_count(value, where)
    converted = _convert(value, where, max_depth)
    refuse_control(converted, where)
    return converted


def refuse_control(value: Any, where: str) -> None:
    """Raise `BadPrompt` if any text in plain values holds a control token or half a surrogate pair."""
    if isinstance(value, str):
        if token := _CONTROL.search(value):
            raise BadPrompt(
                f"{where} holds {token[0]}, which the model would read as part of the chat format.",
                hint="Remove it, or put a space inside: text from outside must not act as the chat format.",
            )
        check_encodable(value, where)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_control(key, where)
            refuse_control(item, where)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_control(item, where)


def without_control(text: str) -> str:
    """Return a text in which control tokens have a space inside, and half surrogate pairs are replaced."""
    spaced = _CONTROL.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)
    return spaced.encode("utf-8", "replace").decode()


def spaced(value: Any) -> Any:
    """Return plain JSON with a space inside every control token; see `without_control`."""
    if isinstance(value, str):
        return without_control(value)
    if isinstance(value, dict):
        return {without_control(key): spaced(item) for key, item in value.items()}
    return [spaced(item) for item in value] if isinstance(value, list) else value


def check_encodable(text: str, where: str) -> None:
    """Raise `BadPrompt` if a text holds half a surrogate pair, which no tokenizer can encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadPrompt(
            f"{where} holds half a surrogate pair at position {error.start}.",
            hint='Repair it with text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").',
        ) from error


def as_mapping(value: Any) -> dict[str, Any] | None:
    """Return the fields of a mapping, a dataclass instance or a pydantic model; None for anything else.

    Only the outer level of a dataclass is converted, so that media in its fields stay as they are.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if callable(dump := getattr(value, "model_dump", None)):
        dumped = dump()
        return dict(dumped) if isinstance(dumped, Mapping) else None
    return None


def short(value: Any) -> str:
    """Return the repr of a value, cut to 80 characters, for an error message."""
    try:
        shown = repr(value)
    except Exception:  # of the caller's class; the error to be raised matters more
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= 80 else shown[:79] + "…"


def _check_count(value: Any, where: str) -> None:
    """Count the values in lists and mappings; a shared value is counted at each of its positions."""
    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise BadPrompt(
                f"{where} holds more than {MAX_VALUES:,} values, or contains itself.",
                hint="Send a part of it.",
            )
        if isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)


def _convert(value: Any, path: str, depth: int) -> Any:
    """Convert one value; `depth` is how much deeper it may be nested."""
    if depth < 0:
        raise BadPrompt(
            f"{path[:80]}… is nested too deep, or contains itself.", hint="Flatten it, or send a part of it."
        )
    if (scalar := _scalar(value, path)) is not _NO_SCALAR:
        return scalar
    if isinstance(value, enum.Enum):
        return _convert(value.value, path, depth)
    if isinstance(value, np.generic | np.ndarray) or _is_tensor(value):
        return _array(value, path, depth)
    if (table := _records(value, path)) is not None:
        return _convert(table, path, depth)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    is_medium = type(value).__module__.startswith(_MEDIA)  # dataclasses, but no data for a text
    if not is_medium and (fields := as_mapping(value)) is not None:
        return _object(fields, path, depth)
    if isinstance(value, AbstractSet):
        items = [_convert(item, f"{path}[…]", depth - 1) for item in value]
        return sorted(items, key=lambda item: (type(item).__name__, repr(item)))  # a set has no order
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        if len(value) > MAX_VALUES:  # of a lazy one, such as a range, which was not counted
            raise BadPrompt(f"{path} holds {len(value):,} values.", hint="Send a part of it.")
        return [_convert(item, f"{path}[{index}]", depth - 1) for index, item in enumerate(value)]
    raise BadPrompt(
        f"{path} is {type_name(value)}, which has no plain JSON form.",
        hint="Pass text, numbers, lists, dicts, dates, dataclasses, pydantic models, arrays or tables; "
        + (
            "decode bytes first."
            if isinstance(value, bytes | bytearray | memoryview)
            else "convert it first."
        ),
    )


def _scalar(value: Any, path: str) -> Any:
    """Convert a value that becomes one JSON scalar; `_NO_SCALAR` for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _NO_SCALAR
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float | Decimal | Fraction):
        return _number(value, path)
    if isinstance(value, dt.date | dt.time):  # a datetime is a date; pandas' NaT is not equal to itself
        return value.isoformat() if value == value else None
    if isinstance(value, dt.timedelta):
        return f"PT{_trimmed(value.total_seconds())}S"
    if isinstance(value, UUID | PurePath):
        return str(value)
    return None if _is_pandas(value, "NAType") else _NO_SCALAR


def _object(fields: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, item in fields.items():
        name = _key(key, path)
        if name in converted:
            raise BadPrompt(f"{path} has two keys that are written {name!r}.", hint="Rename one of them.")
        converted[name] = _convert(item, f"{path}.{name}", depth - 1)
    return converted


def _key(key: Any, path: str) -> str:
    """Return a key as JSON writes it: numbers, booleans and None as their JSON text."""
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return str.__str__(key)
    if isinstance(key, tuple | AbstractSet | Mapping) or isinstance(
        converted := _convert(key, f"{path}: a key", 1), list | dict
    ):
        raise BadPrompt(f"{path} has the key {short(key)}, {type_name(key)}.", hint="Use strings as keys.")
    return converted if isinstance(converted, str) else json.dumps(converted)


def _number(value: Any, path: str) -> int | float:
    if isinstance(value, Decimal | Fraction):
        if isinstance(value, Decimal) and not value.is_finite():
            raise BadPrompt(f"{path} is {value}, which JSON does not have.", hint="Pass None instead.")
        value = int(value) if value == int(value) else float(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise BadPrompt(f"{path} is {float(value)}, which JSON does not have.", hint="Pass None instead.")
        return float.__float__(value)
    if abs(value) >= 10**MAX_DIGITS:
        raise BadPrompt(f"{path} is a number of more than {MAX_DIGITS} digits.", hint="Pass it as text.")
    return int.__int__(value)


def _is_pandas(value: Any, *names: str) -> bool:
    kind = type(value)
    return kind.__name__ in names and kind.__module__.split(".")[0] == "pandas"


def _trimmed(seconds: float) -> str:
    return repr(int(seconds)) if seconds == int(seconds) else repr(seconds)


def _is_tensor(value: Any) -> bool:
    return callable(getattr(value, "tolist", None)) and callable(getattr(value, "detach", None))


def _array(value: Any, path: str, depth: int) -> Any:
    """Convert a scalar or an array of numpy or torch."""
    if _is_tensor(value):
        return _convert(value.detach().tolist(), path, depth)
    if value.dtype.kind == "M":
        texts = np.where(np.isnat(value), None, np.datetime_as_string(value).astype(object))
        return np.asarray(texts, dtype=object).tolist()
    if value.dtype.kind == "m":
        seconds = value.astype("timedelta64[us]").astype(object)
        return _convert(np.asarray(seconds).tolist(), path, depth)
    if value.dtype.names is not None:
        rows = [dict(zip(value.dtype.names, row.item(), strict=True)) for row in np.ravel(value)]
        return _convert(rows if value.ndim else rows[0], path, depth)
    if value.dtype.kind not in "biufOUT":
        raise BadPrompt(
            f"{path} is a numpy value of type {value.dtype}, which has no plain JSON form.",
            hint="Convert it to numbers or text first.",
        )
    return _convert(value.tolist(), path, depth)


def _records(value: Any, path: str) -> list[Any] | dict[Any, Any] | None:
    """Return the rows of a table as dicts, or a pandas Series as a list or dict; None for anything else."""
    for rows in ("to_dicts", "to_pylist"):  # polars; pyarrow
        if not isinstance(value, type) and callable(method := getattr(value, rows, None)):
            return list(method())
    if not _is_pandas(value, "DataFrame", "Series"):
        return None
    numbered = value.index.name is None and value.index.equals(type(value.index)(range(len(value))))
    value = value.astype(object).where(value.notna(), None)  # pandas' missing values are JSON's null
    if _is_pandas(value, "Series"):
        if not value.index.is_unique:
            raise BadPrompt(f"{path} is a Series whose index has duplicates.", hint="Reset its index first.")
        return list(value) if numbered else dict(value.items())
    try:
        value = value if numbered else value.reset_index()
    except ValueError as error:
        raise BadPrompt(
            f"{path}: the index cannot become a column: {error}.", hint="Reset it first."
        ) from error
    if not value.columns.is_unique:
        raise BadPrompt(f"{path} is a table with two columns of one name.", hint="Rename one of them.")
    return list(value.to_dict("records"))


def iterated(values: Any) -> list[Any] | None:
    """Return the items of a list, a tuple or an iterator; None for anything else."""
    return list(values) if isinstance(values, list | tuple | Iterator) else None
