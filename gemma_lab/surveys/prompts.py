"""Sources of a survey's prompts: a list, JSON lines, Parquet, or a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checks import type_name
from ..errors import LabError
from ..evals.run import question_options
from ..models.chat.options import PROMPT_OPTIONS

_HOW = (
    "Pass a list of texts or mappings, a .jsonl or .parquet file with a column prompt, a table, or a Hugging "
    "Face dataset."
)
_TEXTS = ("prompt", "messages")
_JSON_LINES, _PARQUET = (".jsonl", ".ndjson"), (".parquet",)
#: Every how many rows of JSON lines the place in the file is kept: 8 bytes per that many prompts.
_STRIDE = 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SurveyPrompt:
    """One prompt of a survey.

    Attributes
    ----------
    index
        Its row in the source.
    prompt
        A text, or messages.
    options
        Keywords of `gemma_lab.Lab.trace`: images, system, thinking, ….
    labels
        Everything else about it, as text: language, task, ….
    question
        The check-up's question it was made of, which grades the reply; None for others.
    fault
        Why its row of a file is no prompt; None for a prompt.
    """

    index: int
    prompt: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    question: Any = field(default=None, repr=False)
    fault: LabError | None = None


class PromptSource:
    """Prompts by row number; only the requested rows of a file are read.

    Parameters
    ----------
    source
        A sequence of texts, mappings (``prompt`` or ``messages``, options of `gemma_lab.Lab.trace`, labels)
        and questions of `gemma_lab.evals`; a path to JSON lines or Parquet; a pandas, Polars or pyarrow
        table; or a dataset with ``column_names``.

    Raises
    ------
    LabError
        If it is none of these, cannot be read, or has no row.
    """

    def __init__(self, source: Any) -> None:
        self._rows: Any = None
        self._path: Path | None = None
        self._places: list[int] = []  # of every _STRIDE-th row of JSON lines
        self._group: tuple[int, Any] | None = None  # the row group of Parquet that was read last
        if isinstance(source, str | Path) and _kind(source):
            self._path = Path(source).expanduser()
            if not self._path.is_file():
                raise LabError(f"There is no file {self._path}.", hint=_HOW)
        else:
            self._rows = _in_memory(source)
        self._length = self._count()
        if not self._length:
            raise LabError("There is no prompt.", hint=_HOW)

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_group": None}

    def read(self, start: int, stop: int) -> list[SurveyPrompt]:
        """Return the prompts of rows `start` to `stop` − 1; rows that are no prompt have a `fault`."""
        found = []
        for number, row in enumerate(self._read(start, min(stop, self._length)), start):
            try:
                found.append(_prompt(number, row))
            except LabError as fault:
                found.append(SurveyPrompt(number, None, fault=fault))
        return found

    def check(self) -> None:
        """Raise an error for rows in memory that are no prompts, and for a file whose first row is none."""
        for prompt in self.read(0, self._length if isinstance(self._rows, list) else 1):
            if prompt.fault is not None:
                raise prompt.fault

    def digest(self) -> str:
        """Return a SHA-256 over all prompts, so that a survey is resumed only with the same ones."""
        made = hashlib.sha256()
        if self._path is not None:
            with self._path.open("rb") as file:
                while block := file.read(1 << 20):
                    made.update(block)
        else:
            for row in self._rows:
                _feed(made, row)
        return made.hexdigest()

    def _count(self) -> int:
        if self._path is None:
            return len(self._rows)
        if _kind(self._path) == "parquet":
            return int(_parquet_file(self._path).metadata.num_rows)
        count = 0
        with self._path.open("rb") as file:
            place = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            file.seek(place)
            for line in file:
                if line.strip():
                    if count % _STRIDE == 0:
                        self._places.append(place)
                    count += 1
                place += len(line)
        return count

    def _read(self, start: int, stop: int) -> list[Any]:
        if self._path is None:
            return [self._rows[number] for number in range(start, stop)]
        return (
            self._read_parquet(start, stop)
            if _kind(self._path) == "parquet"
            else _json_rows(self._path, self._places[start // _STRIDE], start, stop)
        )

    def _read_parquet(self, start: int, stop: int) -> list[Any]:
        """Return some rows, reading only the row groups that hold them; the last one is kept for the next."""
        assert self._path is not None
        rows: list[Any] = []
        first = 0
        with _parquet_file(self._path) as file:
            for group in range(file.num_row_groups):
                after = first + file.metadata.row_group(group).num_rows
                if first < stop and after > start:
                    if self._group is None or self._group[0] != group:
                        self._group = group, _read_group(file, group, self._path)
                    table = self._group[1]
                    rows += table.slice(
                        max(0, start - first), min(stop, after) - max(start, first)
                    ).to_pylist()
                first = after
        return rows


def _kind(path: str | Path) -> str | None:
    """Return the format of a file by its name: ``"json"``, ``"parquet"`` or None for others."""
    suffix = Path(path).suffix.lower()
    return "json" if suffix in _JSON_LINES else "parquet" if suffix in _PARQUET else None


def _in_memory(source: Any) -> Any:
    """Return what has rows by number: a list, or a dataset as it is."""
    if hasattr(source, "to_pylist") and hasattr(source, "column_names"):  # a pyarrow table
        return source.to_pylist()
    if hasattr(source, "to_dicts"):  # Polars
        return source.to_dicts()
    if hasattr(source, "columns") and hasattr(source, "to_dict"):  # pandas, which writes nothing as NaN
        return source.astype(object).where(source.notna(), None).to_dict("records")
    if (
        isinstance(source, str | bytes | Mapping)
        or not hasattr(source, "__getitem__")
        or not hasattr(source, "__len__")
    ):
        raise LabError(f"prompts={source!r:.80} are no prompts.", hint=_HOW)
    return source if hasattr(source, "column_names") else list(source)


def _json_rows(path: Path, place: int, start: int, stop: int) -> list[Any]:
    """Return some rows of JSON lines; `place` is that of the last row before them that is known."""
    rows: list[Any] = []
    number = start - start % _STRIDE
    with path.open("rb") as file:
        file.seek(place)
        for line in file:
            if number >= stop:
                break
            if not line.strip():
                continue
            if number >= start:
                try:
                    rows.append(json.loads(line.decode("utf-8")))
                except (ValueError, RecursionError) as error:
                    rows.append(
                        LabError(f"Row {number} of {path.name} is no JSON: {error!s:.200}.", hint=_HOW)
                    )
            number += 1
    if len(rows) != stop - start:
        raise LabError(
            f"{path.name} has fewer rows than before.", hint="Do not change the file while it is surveyed."
        )
    return rows


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise LabError(f"{path.name} cannot be read as Parquet: {error!s:.200}", hint=_HOW) from None


def _read_group(file: Any, group: int, path: Path) -> Any:
    import pyarrow as pa

    try:
        return file.read_row_group(group)
    except (OSError, pa.ArrowException) as error:
        raise LabError(
            f"Row group {group} of {path.name} cannot be read: {error!s:.200}",
            hint="The file is damaged; write it again.",
        ) from None


def _prompt(index: int, row: Any) -> SurveyPrompt:
    if isinstance(row, str):
        return SurveyPrompt(index, row)
    if hasattr(row, "is_correct"):  # a question of the check-up
        prompt, options = question_options(row)
        return SurveyPrompt(index, prompt, options, {"skill": row.skill, "group": row.group}, row)
    if isinstance(row, LabError):
        raise row
    if not isinstance(row, Mapping):
        raise LabError(f"Prompt {index} is {type_name(row)}.", hint=_HOW)
    texts = [row[name] for name in _TEXTS if row.get(name) is not None]
    if len(texts) != 1:
        raise LabError(f"Prompt {index} has {len(texts)} of prompt and messages; it needs one.", hint=_HOW)
    options = {name: value for name, value in row.items() if name in PROMPT_OPTIONS and value is not None}
    labels = {
        printable(str(name)): printable(str(value))
        for name, value in row.items()
        if name not in (*_TEXTS, *PROMPT_OPTIONS) and value is not None
    }
    return SurveyPrompt(index, texts[0], options, labels)


def printable(text: str) -> str:
    """Return a text that UTF-8 can hold: a lone surrogate, which JSON can write, becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _feed(made: Any, value: Any) -> None:
    """Add a value to a digest, unambiguously: its kind, its length, its content."""
    if isinstance(value, Mapping):
        made.update(b"{%d" % len(value))
        for key in sorted(value, key=str):
            _feed(made, str(key))
            _feed(made, value[key])
    elif isinstance(value, str | Path):
        data = str(value).encode("utf-8", "surrogatepass")
        made.update(b"s%d:" % len(data) + data)
    elif isinstance(value, bytes):
        made.update(b"b%d:" % len(value) + value)
    elif isinstance(value, list | tuple):
        made.update(b"[%d" % len(value))
        for item in value:
            _feed(made, item)
    elif hasattr(value, "tobytes"):  # pictures and arrays
        made.update(
            f"a{getattr(value, 'mode', '')}{getattr(value, 'size', '')}{getattr(value, 'dtype', '')}".encode()
        )
        made.update(value.tobytes())
    elif hasattr(value, "__dataclass_fields__"):
        _feed(made, {name: getattr(value, name) for name in value.__dataclass_fields__})
    else:
        _feed(made, repr(value))
