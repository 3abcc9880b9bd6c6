"""Sources of a survey's prompts: a list, JSON lines, Parquet, or a Hugging Face dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..models.chat.options import PROMPT_OPTIONS

_HOW = (
    "Pass a list of texts or mappings, a .jsonl or .parquet file with a column prompt, or a Hugging Face "
    "dataset."
)
_TEXTS = ("prompt", "messages")


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
    """

    index: int
    prompt: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    question: Any = field(default=None, repr=False)


class PromptSource:
    """Prompts by row number; only the requested rows of a file are read.

    Parameters
    ----------
    source
        A sequence of texts, mappings (``prompt`` or ``messages``, options of `gemma_lab.Lab.trace`, labels)
        and questions of `gemma_lab.evals`; a path to JSON lines or Parquet; or a dataset with
        ``column_names``.

    Raises
    ------
    LabError
        If it is none of these, or a row has no prompt.
    """

    def __init__(self, source: Any) -> None:
        self._rows: Any = None
        self._path: Path | None = None
        if isinstance(source, str | Path) and Path(source).suffix in (".jsonl", ".parquet"):
            self._path = Path(source)
            if not self._path.is_file():
                raise LabError(f"There is no file {self._path}.", hint=_HOW)
        elif (
            isinstance(source, str | Mapping)
            or not hasattr(source, "__getitem__")
            or not hasattr(source, "__len__")
        ):
            raise LabError(f"prompts={source!r:.80} are no prompts.", hint=_HOW)
        else:
            self._rows = source if hasattr(source, "column_names") else list(source)
        self._length = self._count()
        if not self._length:
            raise LabError("There is no prompt.", hint=_HOW)

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> list[SurveyPrompt]:
        """Return the prompts of rows `start` to `stop` − 1."""
        return [_prompt(start + number, row) for number, row in enumerate(self._read(start, stop))]

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
        if self._path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return int(pq.read_metadata(self._path).num_rows)
        with self._path.open("rb") as file:
            return sum(1 for line in file if line.strip())

    def _read(self, start: int, stop: int) -> Sequence[Any]:
        if self._path is None:
            return [self._rows[number] for number in range(start, min(stop, self._length))]
        if self._path.suffix == ".parquet":
            return _parquet_rows(self._path, start, stop)
        rows = []
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(line for line in file if line.strip()):
                if number >= stop:
                    break
                if number >= start:
                    try:
                        rows.append(json.loads(line))
                    except ValueError as error:
                        raise LabError(
                            f"Row {number} of {self._path.name} is no JSON: {error}.", hint=_HOW
                        ) from None
        return rows


def _parquet_rows(path: Path, start: int, stop: int) -> list[Any]:
    """Return some rows, reading only the row groups that hold them."""
    import pyarrow.parquet as pq

    file, rows, first = pq.ParquetFile(path), [], 0
    for group in range(file.num_row_groups):
        after = first + file.metadata.row_group(group).num_rows
        if first < stop and after > start:
            table = file.read_row_group(group)
            rows += table.slice(max(0, start - first), min(stop, after) - max(start, first)).to_pylist()
        first = after
    return rows


def _prompt(index: int, row: Any) -> SurveyPrompt:
    if isinstance(row, str):
        return SurveyPrompt(index, row)
    if hasattr(row, "is_correct"):  # a question of the check-up
        options = {"images": row.opened_images, "video": row.video, "audio": row.audio, "system": row.system,
                   "thinking": row.thinking, "tools": row.tools or None}  # fmt: skip
        used = {name: value for name, value in options.items() if value is not None and value != ()}
        return SurveyPrompt(index, row.messages, used, {"skill": row.skill, "group": row.group}, row)
    if not isinstance(row, Mapping):
        raise LabError(f"Prompt {index} is a {type(row).__name__}.", hint=_HOW)
    texts = [row[name] for name in _TEXTS if row.get(name) is not None]
    if len(texts) != 1:
        raise LabError(f"Prompt {index} has {len(texts)} of prompt and messages; it needs one.", hint=_HOW)
    options = {name: value for name, value in row.items() if name in PROMPT_OPTIONS and value is not None}
    labels = {name: str(value) for name, value in row.items() if name not in (*_TEXTS, *PROMPT_OPTIONS)}
    return SurveyPrompt(index, texts[0], options, labels)


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
