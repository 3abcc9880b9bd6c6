"""Resolve a model's name to the folder of its files; only hub models are downloaded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...assets import data_path
from ...checks import type_name
from ...errors import BadCheckpoint, LabError, NotAvailable, UnknownModel

if TYPE_CHECKING:
    from ...family.catalog import Checkpoint

DEFAULT_MODEL = "mini-moe"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: patterns of the files that are downloaded: safetensors weights, which cannot run code, and small files
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model")
_NESTED = "*/*"  # Gemma 4 needs no file of a sub-folder


@dataclass(frozen=True)
class Location:
    """Location of a model: a local `folder`, or a `hub_id` that may have to be downloaded."""

    name: str
    folder: Path | None = None
    hub_id: str | None = None
    checkpoint: Checkpoint | None = None


def locate(name: str | Path | None) -> Location:
    """Resolve a name: an alias of the catalog, a hub id, a mini, or a folder.

    Parameters
    ----------
    name
        None means the environment variable ``GEMMA_LAB_MODEL``, and without that ``"mini-moe"``.

    Raises
    ------
    UnknownModel
        If it is none of them; the hint lists similar names.
    """
    if name is None:
        name = os.environ.get("GEMMA_LAB_MODEL", "").strip() or DEFAULT_MODEL
    if isinstance(name, Path):
        return _folder(name)
    if not isinstance(name, str):
        raise UnknownModel(
            f"A model is named by a string or a path, not by {type_name(name)}.",
            hint="gl.catalog() lists the names.",
        )
    from ...family.catalog import find, suggest

    known = find(name)
    if known is not None:
        if known.hub_id is None:
            return Location(known.alias, folder=data_path(str(known.path)), checkpoint=known)
        return Location(known.alias, hub_id=known.hub_id, checkpoint=known)
    if (
        (name.strip() and Path(name).expanduser().exists())
        or name.startswith((".", "/", "~"))
        or "\\" in name
        or name.lower().endswith(".gguf")
    ):
        return _folder(Path(name))
    if _HUB_ID.fullmatch(name):
        return Location(name, hub_id=name)
    close = suggest(name)
    meant = f"Did you mean {' or '.join(close)}? " if close else ""
    raise UnknownModel(
        f"No model is called {name!r}.",
        hint=f"{meant}gl.catalog() lists the names; a folder or a hub id (owner/name) works too.",
    )


def _folder(path: Path) -> Location:
    path = path.expanduser()
    if path.suffix.lower() == ".gguf":
        raise BadCheckpoint(
            f"{path} holds GGUF weights, which llama.cpp and Ollama run, not this package.",
            hint="Load the safetensors checkpoint of the same model: gl.catalog() lists their names.",
        )
    if path.is_file():
        raise UnknownModel(f"{path} is a file.", hint=f"Give the folder it is in: {path.parent}")
    if not path.is_dir():
        raise UnknownModel(
            f"There is no folder {path}.",
            hint=f"Relative paths start at {Path.cwd()}; gl.catalog() lists names.",
        )
    return Location(path.resolve().name, folder=path)


def fetch_config(location: Location, *, offline: bool = False) -> Path:
    """Return the folder of a hub model's ``config.json``, downloading that file if it is not cached.

    Parameters
    ----------
    location
        Of a hub model.
    offline
        Forbid the download.

    Raises
    ------
    NotAvailable, UnknownModel
        As `download` does.
    """
    from huggingface_hub import hf_hub_download

    return Path(
        query_hub(
            location,
            offline,
            lambda: hf_hub_download(str(location.hub_id), "config.json", local_files_only=offline),
        )
    ).parent


def hub_weight_bytes(location: Location) -> Callable[[int], int]:
    """Return the size of a hub model's weights, read from the headers on the hub before any download.

    Returns
    -------
    callable
        From bytes per element to the bytes of all weights.

    Raises
    ------
    NotAvailable, UnknownModel, BadCheckpoint
        If the hub does not answer, or has no safetensors there.
    """
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    try:
        metadata = query_hub(location, False, lambda: get_safetensors_metadata(str(location.hub_id)))
    except (NotASafetensorsRepoError, SafetensorsParsingError) as error:
        raise BadCheckpoint(
            f"{location.hub_id} has no readable safetensors weights on the hub: {error}.",
            hint="Only safetensors are loaded; look for another upload of the same model.",
        ) from error
    elements = sum(metadata.parameter_count.values())
    return lambda item: elements * item


def download(location: Location, *, offline: bool) -> Path:
    """Return the folder of a model, downloading what is missing: safetensors and small files only.

    Raises
    ------
    NotAvailable
        If it would have to be downloaded and that is forbidden, or the hub cannot be reached.
    UnknownModel
        If the hub has no such model.
    """
    if location.folder is not None:
        return location.folder
    from huggingface_hub import snapshot_download

    def fetch() -> str:
        return snapshot_download(
            str(location.hub_id),
            allow_patterns=list(PATTERNS),
            ignore_patterns=[_NESTED],
            local_files_only=offline,
        )

    return Path(query_hub(location, offline, fetch))


def query_hub(location: Location, offline: bool, question: Callable[[], Any]) -> Any:
    """Call a function of huggingface_hub and translate its errors into those of this package."""
    import httpx
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    hub_id = location.hub_id
    try:
        return question()
    except GatedRepoError as error:
        raise NotAvailable(
            f"{hub_id} can be downloaded only after you accept its terms.",
            hint=f"Accept them at https://huggingface.co/{hub_id}, then set HF_TOKEN (gl never stores it).",
        ) from error
    except RepositoryNotFoundError as error:
        raise UnknownModel(
            f"The hub has no model {hub_id!r}, or it is private.",
            hint="Upper and lower case matter (gemma-4-E2B-it); gl.catalog() lists the family's ids.",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _unreachable(str(hub_id), offline, error) from error


def _unreachable(hub_id: str, offline: bool, error: Exception) -> LabError:
    from huggingface_hub import constants

    elsewhere = 'gl.load("mini-moe") needs no download.'
    if offline or constants.HF_HUB_OFFLINE:
        return NotAvailable(
            f"{hub_id} is not in the cache ({constants.HF_HUB_CACHE}), and downloads are off (offline).",
            hint=f"Unset GEMMA_LAB_OFFLINE and HF_HUB_OFFLINE, or pass offline=False; {elsewhere}",
        )
    reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return NotAvailable(
        f"{hub_id} could not be downloaded: {reason[0]}",
        hint=f"Check the connection (and free disk) and load again: it resumes where it stopped. {elsewhere}",
    )
