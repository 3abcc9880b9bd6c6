"""Find and read the files of an SAE: a folder, a file, or a folder of a repository on the hub."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from ...checks import short_repr
from ...errors import BadCheckpoint, DoesNotFit, LabError, NotAvailable, UnknownModel
from ...system.hardware import amount, free_ram
from ..loading.checkpoint_files import FLOATING, read_header
from ..loading.resolve import Location, query_hub
from .layouts import Given, Tensors, from_gemma_scope, from_plain, from_sae_lens, from_sparsify
from .writing import CONFIG, SAE_LENS

SPARSIFY = "sae.safetensors"
GEMMA_SCOPE, GEMMA_SCOPE_CONFIG = "params.safetensors", "config.json"
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
_ARRAYS = ".npz"
_MAX_CONFIG = 1 << 20  # bytes
_LISTED = 8  # folders of a repository that an error lists


def read_sae(path: Path, given: Given) -> dict[str, Any]:
    """Return the parts of the SAE in a folder or a file, with the name of its layout.

    Raises
    ------
    NotAvailable
        If there is none.
    BadCheckpoint
        If files are damaged, a pickle, or contradict each other.
    DoesNotFit
        If the weights take more memory than is free.
    LabError
        If the SAE is of a kind that is not read, or something that it needs is stated nowhere.
    """
    file = path if path.is_file() else _weights_in(path)
    if file.suffix.lower() in _PICKLES:
        raise _pickle(file)
    if file.suffix.lower() == _ARRAYS:
        raise _arrays(file)
    if given.input_scale is not None and file.name != SAE_LENS:
        raise LabError("input_scale is of sae_lens' layout alone.", hint="Leave it out.")
    config = file.parent / (GEMMA_SCOPE_CONFIG if file.name == GEMMA_SCOPE else CONFIG)
    if file.name in (SAE_LENS, SPARSIFY, GEMMA_SCOPE):
        if not config.is_file():
            raise BadCheckpoint(
                f"{file.parent} has {file.name} and no {config.name}.", hint="Download that, too."
            )
        _refuse_statements(given, config.name)
        values, tensors = _json(config), _tensors(file)
        if file.name == GEMMA_SCOPE:
            return from_gemma_scope(values, tensors, given) | {"layout": "gemma_scope"}
        if file.name == SAE_LENS:
            return from_sae_lens(values, tensors, given) | {"layout": "sae_lens"}
        folder = file.parent.resolve().name
        return from_sparsify(values, tensors, given, folder=folder) | {"layout": "sparsify"}
    return from_plain(_tensors(file), given) | {"layout": "safetensors"}


def find(source: str | Path, *, subfolder: str | None, offline: bool) -> Path:
    """Return the folder or the file of an SAE, downloading it from the hub if it is not on this machine.

    Parameters
    ----------
    source
        A folder, a ``*.safetensors`` file, or ``owner/name`` of a repository; ``owner/name/folder`` names a
        folder of it.
    subfolder
        Folder of the repository, or of the folder.
    offline
        Forbid downloads.

    Raises
    ------
    LabError
        If it is no name of any of these.
    NotAvailable, UnknownModel
        As for `gemma_lab.load`; also if the repository has several SAEs and none is named.
    """
    if not isinstance(source, str | Path) or not str(source).strip() or "\0" in str(source):
        raise LabError(
            f"An SAE is named by a folder or a hub id, not by {short_repr(source)}.",
            hint='gl.load_sae("owner/name/folder"), or gl.load_sae("folder").',
        )
    inside = _inside(subfolder)
    local = Path(source).expanduser()
    parts = str(source).split("/")
    if local.exists():
        found = local / inside if inside else local
        if not found.exists():
            raise NotAvailable(
                f"{local} has no {short_repr(subfolder)}.", hint=_folders_hint(_subfolders(local))
            )
        return found
    is_path = isinstance(source, Path) or str(source).startswith((".", "/", "~")) or "\\" in str(source)
    if is_path or len(parts) < 2 or not all(parts):
        raise NotAvailable(
            f"There is no folder {local}.", hint="Pass the folder of an SAE, or owner/name/folder of the hub."
        )
    if len(parts) > 2 and inside:
        raise LabError(
            f"{source!r} names a folder, and subfolder={subfolder!r} another one.", hint="Name one of them."
        )
    return _download("/".join(parts[:2]), inside or _inside("/".join(parts[2:]) or None), offline)


def _download(hub_id: str, folder: str, offline: bool) -> Path:
    """Return a folder of a repository on the hub, downloading its JSON and safetensors files only."""
    from huggingface_hub import list_repo_files, snapshot_download

    location = Location(hub_id, hub_id=hub_id)
    if not folder and not offline:
        files = [
            PurePosixPath(name) for name in query_hub(location, offline, lambda: list_repo_files(hub_id))
        ]
        folders = sorted({str(f.parent) for f in files if f.suffix == ".safetensors" and f.parent.parts})
        if folders and not any(f.suffix == ".safetensors" and not f.parent.parts for f in files):
            raise UnknownModel(f"{hub_id} has {len(folders):,} SAEs.", hint=_folders_hint(folders))
        if not any(f.suffix == ".safetensors" for f in files) and (
            pickles := [f.name for f in files if f.suffix in _PICKLES]
        ):
            raise _pickle(Path(pickles[0]))
    prefix = f"{folder}/" if folder else ""
    patterns = [f"{prefix}*.safetensors", f"{prefix}{CONFIG}", f"{prefix}{GEMMA_SCOPE_CONFIG}"]

    def fetch() -> str:
        ignored = [] if folder else ["*/*"]
        return snapshot_download(
            hub_id, allow_patterns=patterns, ignore_patterns=ignored, local_files_only=offline
        )

    root = Path(query_hub(location, offline, fetch))
    found = root / folder if folder else root
    if not found.is_dir():
        raise UnknownModel(
            f"{hub_id} has no folder {folder!r} with safetensors.", hint=_folders_hint(_subfolders(root))
        )
    return found


def _inside(subfolder: Any) -> str:
    """Return a relative folder in POSIX form; "" for none."""
    if subfolder is None:
        return ""
    path = PurePosixPath(str(subfolder))
    bad = (
        path.is_absolute()
        or ".." in path.parts
        or "\\" in str(subfolder)
        or any(c in str(subfolder) for c in "*?[")
    )
    if not isinstance(subfolder, str) or not path.parts or bad:
        raise LabError(
            f"subfolder={short_repr(subfolder)} is no folder inside.", hint='For example "layers.17".'
        )
    return str(path)


def _weights_in(folder: Path) -> Path:
    """Return the file of weights in a folder."""
    for name in (SAE_LENS, SPARSIFY, GEMMA_SCOPE):
        if (folder / name).exists() or (folder / name).is_symlink():
            return folder / name
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    plain = [entry for entry in entries if entry.suffix == ".safetensors"]
    if len(plain) == 1:
        return plain[0]
    if len(plain) > 1:
        raise NotAvailable(
            f"{folder} has {len(plain)} safetensors files.", hint=f"Pass one of them: {plain[0].name}, …"
        )
    if pickles := [entry for entry in entries if entry.suffix.lower() in _PICKLES]:
        raise _pickle(pickles[0])
    if arrays := [entry for entry in entries if entry.suffix.lower() == _ARRAYS]:
        raise _arrays(arrays[0])
    raise NotAvailable(f"{folder} has no SAE.", hint=_folders_hint(_subfolders(folder)))


def _subfolders(folder: Path) -> list[str]:
    found = [*folder.glob(f"**/{CONFIG}"), *folder.glob(f"**/{GEMMA_SCOPE}")]
    return sorted({str(each.parent.relative_to(folder).as_posix()) for each in found})


def _folders_hint(folders: list[str]) -> str:
    if not folders:
        return (
            f"An SAE is a folder with {CONFIG} and {SAE_LENS} or {SPARSIFY}, with {GEMMA_SCOPE_CONFIG} and "
            f"{GEMMA_SCOPE}, or one *.safetensors."
        )
    more = f", … ({len(folders):,} in all)" if len(folders) > _LISTED else ""
    return f"Name one with subfolder=…: {', '.join(folders[:_LISTED])}{more}."


def _pickle(file: Path) -> BadCheckpoint:
    return BadCheckpoint(
        f"{file.name} is a pickle, which can run code when it is opened.",
        hint="Convert it where you trust it: load it with torch.load(weights_only=True), then write "
        "sae_weights.safetensors with safetensors.torch.save_file.",
    )


def _arrays(file: Path) -> BadCheckpoint:
    return BadCheckpoint(
        f"{file.name} is an archive of NumPy arrays, as Gemma Scope has for Gemma 2.",
        hint="If it is of this model, write its arrays with safetensors.numpy.save_file as "
        f"{GEMMA_SCOPE} (w_enc, b_enc, w_dec, b_dec, threshold) beside a {GEMMA_SCOPE_CONFIG}.",
    )


def _refuse_statements(given: Given, config: str) -> None:
    """Refuse what the caller states about an SAE whose configuration states it."""
    for name in ("activation", "k", "apply_b_dec_to_input"):
        value = getattr(given, name)
        if value is not None:
            raise LabError(
                f"{name}={short_repr(value)} was passed, and {config} states it.", hint=f"Leave {name} out."
            )


def _json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_CONFIG:
            raise BadCheckpoint(f"{file} has {file.stat().st_size:,} bytes.", hint="It is no configuration.")
        values = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise BadCheckpoint(f"{file} cannot be read as JSON: {error}.", hint="Download it again.") from error
    if not isinstance(values, dict):
        raise BadCheckpoint(f"{file} is not a JSON object.", hint="Download it again.")
    return values


def _tensors(file: Path) -> Tensors:
    """Return the tensors of a file, after checking its header and the memory they take as float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = read_header(file)
    packed = sorted(name for name, tensor in header.items() if tensor.dtype not in FLOATING)
    if packed:
        raise BadCheckpoint(
            f"{file.name} has {packed[0]!r} as {header[packed[0]].dtype}.", hint="SAEs are floating-point."
        )
    needed, free = 4 * sum(tensor.elements for tensor in header.values()), free_ram()
    if needed > free:
        raise DoesNotFit(
            f"The SAE takes {amount(needed)} of memory; {amount(free)} are free.",
            hint="Close other programs.",
        )
    try:
        return {name: value.to(torch.float32) for name, value in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{file} cannot be read: {error}.", hint="Download it again.") from error
