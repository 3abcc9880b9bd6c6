"""Parse media arguments: one medium or several beside a prompt, and the media in parts of a message."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np

from ...errors import BadMedia, BadPrompt
from .plain_json import as_mapping, short

KINDS = ("image", "video", "audio")
#: Maximum number of media of one kind: no context of the family can hold more, with the fewest tokens each.
MAX_MEDIA = 4_096
#: Minimum length of a string that is read as base64 if it has only base64 characters and names no file.
_MIN_BASE64 = 64
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}")
#: Parts of other APIs: their type, and the kind of medium that they carry.
_PART_KINDS = {form.format(kind): kind for kind in KINDS for form in ("{}", "{}_url", "input_{}")}
#: Where a part may carry its medium, besides under the name of its kind or type.
_SOURCE_KEYS = ("path", "url", "base64", "source", "data", "bytes")


def media_list(kind: str, value: Any) -> list[Any]:
    """Return the media of an argument ``images=``, ``video=`` or ``audio=`` as a list, not yet opened.

    Parameters
    ----------
    kind
        ``"image"``, ``"video"`` or ``"audio"``.
    value
        One medium, a list of media, or None. A medium is anything that its loader accepts: a path, bytes, an
        open file, a PIL image, an array of an image; for videos and sounds also a tuple with the rate.
        Several images may be any iterable, or an array with one more dimension.

    Raises
    ------
    BadMedia
        If there are more than `MAX_MEDIA`.
    """
    return list(iterate_media(kind, value))


def iterate_media(kind: str, value: Any) -> Iterator[Any]:
    """Yield the media of `media_list` one by one, without exhausting a generator in advance."""
    if value is None:
        return
    if isinstance(value, list):
        media: Iterable[Any] = value
    elif kind != "image" or _is_one_image(value):
        media = [value]
    else:
        media = value
    for index, each in enumerate(media):
        if index == MAX_MEDIA:
            raise BadMedia(
                f"There are more than {MAX_MEDIA:,} {kind} inputs.",
                hint="No context of the family holds as many.",
            )
        yield local_source(each)


def _is_one_image(value: Any) -> bool:
    if isinstance(value, str | bytes | bytearray | memoryview | os.PathLike | Mapping) or hasattr(
        value, "read"
    ):
        return True
    if hasattr(value, "getbands"):  # PIL
        return True
    dimensions = getattr(value, "ndim", None)
    if isinstance(dimensions, int) and hasattr(value, "__array__"):
        return dimensions != 4
    return not isinstance(value, Iterable | Iterator)


def from_dataset(value: Any) -> Any:
    """Return the medium of a row of Hugging Face's datasets, ``array`` and ``sampling_rate`` or ``bytes``."""
    if isinstance(value, Mapping):
        if "array" in value and "sampling_rate" in value:
            return (np.asarray(value["array"]), value["sampling_rate"])
        if set(value) <= {"bytes", "path"} and (source := value.get("bytes") or value.get("path")):
            return source
    return value


def part_kind(part: Mapping[str, Any]) -> str | None:
    """Return the kind of medium that a part of a message carries, or None."""
    kind = part.get("type")
    return _PART_KINDS.get(kind) if isinstance(kind, str) else None


def part_source(part: Mapping[str, Any], kind: str, where: str) -> Any:
    """Return the source of a part's medium, whichever API's form the part has.

    Transformers' ``image``, ``url``, ``path`` and ``base64``; OpenAI's ``image_url``, ``input_image`` and
    ``input_audio``; Anthropic's ``source``; MCP's ``data``.

    Raises
    ------
    BadPrompt
        If there is none or several, or base64 text cannot be decoded.
    """
    keys = [key for key in (kind, *_SOURCE_KEYS) if part.get(key) is not None]
    if part["type"] != kind and part.get(part["type"]) is not None:
        keys.append(part["type"])
    if not keys and part.get(f"{kind}_url") is not None:  # input_image of OpenAI's Responses API
        keys = [f"{kind}_url"]
    if len(keys) != 1:
        raise BadPrompt(
            f"{where} has {'several sources' if keys else 'no source'} of its {kind}: {short(dict(part))}.",
            hint=f'For example {{"type": "{kind}", "{kind}": …}} with a path, bytes or an opened medium; '
            '"url": "data:…" and "base64": "…" work too.',
        )
    source, is_base64 = part[keys[0]], keys[0] in ("base64", "data")
    if keys[0] != kind and (fields := as_mapping(source)) is not None:
        known = [key for key in ("url", "data", "path", "file_id") if fields.get(key) is not None]
        if len(known) != 1 or known == ["file_id"]:
            raise BadPrompt(f"{where}: {short(source)} names no {kind}.", hint="Give its url or its data.")
        source, is_base64 = fields[known[0]], known == ["data"]
    return _bytes_of(source, where) if is_base64 else local_source(source)


def local_source(source: Any) -> Any:
    """Return the path of a ``file://`` address, and the bytes of long base64 text; else the source."""
    if not isinstance(source, str):
        return from_dataset(source)
    if source.startswith("file://"):
        return unquote(urlparse(source).path)
    if len(source) >= _MIN_BASE64 and _BASE64.fullmatch(source.strip()) and not _is_file(source):
        try:
            return base64.b64decode("".join(source.split()), validate=True)
        except binascii.Error:
            return source
    return source


def _is_file(source: str) -> bool:
    try:
        return os.path.exists(source)  # noqa: PTH110 - the name may be too long or hold a NUL
    except (OSError, ValueError):
        return False


def _bytes_of(source: Any, where: str) -> Any:
    """Decode base64 text; data URIs and bytes are returned unchanged, for the loaders."""
    if not isinstance(source, str) or source.startswith("data:"):
        return source
    try:
        return base64.b64decode("".join(source.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadPrompt(
            f"{where} is not valid base64: {error}.", hint="Encode it with base64.b64encode."
        ) from error
