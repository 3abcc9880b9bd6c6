"""The same everyday sentences in twenty languages, to compare tokenisation and routing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..assets import data_path
from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Language:
    """A language of the parallel sentences.

    Attributes
    ----------
    code
        ISO 639-1, e.g. ``"vi"``.
    name, own_name
        In English, and in the language itself.
    script
        ISO 15924 code of the writing system: ``"Jpan"`` and ``"Kore"`` mix several scripts.
    direction
        ``"ltr"`` or ``"rtl"``.
    """

    code: str
    name: str
    own_name: str
    script: str
    direction: str


def languages() -> tuple[Language, ...]:
    """Return the languages, German, Arabic and Vietnamese first."""
    return tuple(Language(code, **row) for code, row in _read()["languages"].items())


def sentences(language: str) -> dict[str, str]:
    """Return the sentences of one language, by the key that all languages share.

    Parameters
    ----------
    language
        Its code, e.g. ``"de"``.

    Returns
    -------
    dict of str to str
        Key to sentence, in the order of the file; text is in Unicode normal form NFC.

    Raises
    ------
    LabError
        If there is no such language.

    Examples
    --------
    >>> sentences("de")["thanks"]
    'Danke für deine Hilfe, mein Freund.'
    """
    _require(language, _read()["languages"], "language")
    return {key: row[language] for key, row in _read()["sentences"].items()}


def translations(key: str) -> dict[str, str]:
    """Return one sentence in every language, by language code.

    Raises
    ------
    LabError
        If there is no such key.
    """
    _require(key, _read()["sentences"], "sentence")
    return {language.code: _read()["sentences"][key][language.code] for language in languages()}


def _require(name: str, known: Mapping[str, object], what: str) -> None:
    if name not in known:
        raise LabError(f"There is no parallel {what} {name!r}.", hint=f"There are: {', '.join(known)}.")


@cache
def _read() -> dict[str, dict[str, dict[str, str]]]:
    content: dict[str, dict[str, dict[str, str]]] = json.loads(
        data_path("parallel/sentences.json").read_text(encoding="utf-8")
    )
    return content
