"""Check ``generation_config.json``: token ids that end or forbid, and defaults for sampling."""

from __future__ import annotations

import json
import math
from typing import Any

from ...checks import short_repr
from ...errors import BadCheckpoint
from .checkpoint_files import CheckpointFiles

_FILE = "generation_config.json"
#: Fields with one token id, and with one or several.
_ONE_ID = ("bos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id")
_IDS = ("eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")
#: field -> smallest and largest value, and whether it is a whole number
_NUMBERS = {
    "temperature": (0, math.inf, False),
    "top_p": (0, 1, False),
    "top_k": (0, math.inf, True),
    "min_p": (0, 1, False),
    "repetition_penalty": (1e-6, math.inf, False),
    "max_new_tokens": (1, math.inf, True),
    "max_length": (0, math.inf, True),
}


def check_generation_config(files: CheckpointFiles) -> None:
    """Raise `BadCheckpoint`, naming the field, if a default for generating cannot be used.

    Token ids of ``config.json``, which are taken where there is no ``generation_config.json``, are checked as
    well.
    """
    path = files.folder / _FILE
    settings: Any = {}
    if path.is_file():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError, OSError) as error:
            raise BadCheckpoint(f"{path} cannot be read as JSON: {error}.", hint=_hint()) from error
        if not isinstance(settings, dict):
            raise BadCheckpoint(f"{path} is not a JSON object.", hint=_hint())
    text = files.config.get("text_config", files.config)
    vocabulary = text.get("vocab_size") or math.inf
    for file, fields in ((_FILE, settings), ("config.json", files.config), ("config.json", text)):
        _check_ids(f"{files.folder / file}", fields, vocabulary)
    for field, (low, high, whole) in _NUMBERS.items():
        value = settings.get(field)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if value is not None and not (number and low <= value <= high):
            raise _wrong(f"{path}", field, value, f"a number from {low} to {high}")


def _check_ids(file: str, fields: dict[str, Any], vocabulary: float) -> None:
    several = [name for name in fields if name in _IDS]
    single = [name for name in fields if name in _ONE_ID or name.endswith(("_token_id", "_token_index"))]
    for field in dict.fromkeys([*several, *single]):
        value = fields[field]
        ids = value if field in several and isinstance(value, list) else [value]
        if value is not None and not all(type(each) is int and -1 <= each < vocabulary for each in ids):
            raise _wrong(file, field, value, f"token ids below {vocabulary:,}")


def _wrong(file: str, field: str, value: Any, expected: str) -> BadCheckpoint:
    return BadCheckpoint(f"{file}: {field} is {short_repr(value)}, not {expected}.", hint=_hint())


def _hint() -> str:
    return "Compare the file with that of the original model, or download the checkpoint again."
