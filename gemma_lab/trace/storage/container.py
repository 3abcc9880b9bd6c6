"""The container of a trace file: a ZIP whose members are stored as they are, each with its checksum.

Stored, never compressed: a member cannot be larger in memory than in the file, arrays can be read in place,
and any ZIP tool opens it. Nothing is ever extracted to a path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from ...errors import BadTrace, LabError
from .strict_json import strict_json

FORMAT = "gemma_lab trace"
VERSION = 2
MANIFEST = "manifest.json"
#: Every name a trace may hold beside its manifest.
_MEMBER = re.compile(
    r"(arrays|attention)\.safetensors|tables/(tokens|generation|top_logprobs|logit_lens|logit_lens_targets)\.parquet|images/[0-9]{1,4}\.png"
)
#: Bytes; a prompt of 262,144 tokens takes about one megabyte.
MOST_MANIFEST = 64 << 20
AGAIN = "Copy the file again from where it was made, or trace again."
_CHUNK = 1 << 20
_BROKEN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, NotImplementedError, RuntimeError, ValueError,
    OverflowError, EOFError, OSError,
)  # fmt: skip


class Writer:
    """Adds members to a trace file that is being written; made by `writing`."""

    def __init__(self, raw: BinaryIO, archive: zipfile.ZipFile) -> None:
        self._raw, self._archive = raw, archive
        #: name -> {"bytes": …, "sha256": …} of what was added
        self.members: dict[str, dict[str, Any]] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a member whole."""
        with self.stream(name, size=len(data)) as (write, _):
            write(data)

    @contextmanager
    def stream(self, name: str, *, size: int) -> Iterator[tuple[Any, int]]:
        """Open a member of about `size` bytes; yields ``write(bytes-like)`` and its place in the file."""
        info = zipfile.ZipInfo(name)  # dated 1980: the same trace gives the same bytes
        info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
        info.file_size = size
        digest, written = hashlib.sha256(), 0
        with self._archive.open(info, "w") as member:

            def write(data: Any) -> None:
                nonlocal written
                view = memoryview(data).cast("B")
                for start in range(0, len(view), _CHUNK):
                    digest.update(view[start : start + _CHUNK])
                    written += member.write(view[start : start + _CHUNK])

            yield write, self._raw.tell()
        self.members[name] = {"bytes": written, "sha256": digest.hexdigest()}

    def finish(self, manifest: dict[str, Any]) -> None:
        """Add the manifest: what the file is, `manifest`, and the checksums of everything before it."""
        whole = {"format": FORMAT, "version": VERSION, **manifest, "members": self.members}
        text = json.dumps(whole, indent=1, allow_nan=False)
        self.add(MANIFEST, text.encode("ascii"))


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a file beside `path` and put it in its place when it is complete, or leave nothing.

    Raises
    ------
    LabError
        If it cannot be written there.
    """
    target = path.resolve()  # through a link, so that the link stays one
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        raw = part.open("xb")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
                yield Writer(raw, archive)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(target)
    except OSError as error:
        part.unlink()
        raise _unwritable(path, error) from error
    except BaseException:
        part.unlink()
        raise


def _unwritable(path: Path, error: OSError) -> LabError:
    return LabError(
        f"{path} cannot be written: {error.strerror or error}.",
        hint="Check that its folder exists, may be written to, and has room.",
    )


class Archive:
    """An open trace file: its manifest, and its members, each verified when it is read.

    Parameters
    ----------
    path
        The file.
    raw
        The same, open for reading.

    Raises
    ------
    BadTrace
        If it is no ZIP, cut short, or holds anything that a trace does not.
    """

    def __init__(self, path: Path, raw: IO[bytes]) -> None:
        self.path = path
        self._raw = raw
        self.size = os.fstat(raw.fileno()).st_size
        with self._refusing():
            self._zip = zipfile.ZipFile(raw)
        self._infos = self._listed()
        self.manifest = self._manifest()
        self._agree(self.manifest.get("members"))

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def bytes_of(self, name: str) -> int:
        """Return a member's size."""
        return self._infos[name].file_size

    def read(self, name: str) -> bytes:
        """Return a member whose checksum is right.

        Raises
        ------
        BadTrace
            If it is damaged.
        """
        self.verify(name)
        with self._refusing(), self._zip.open(self._infos[name]) as member:
            return member.read()

    def verify(self, name: str) -> int:
        """Check a member's size and checksum without holding it; return where its bytes begin in the file."""
        info, digest = self._infos[name], hashlib.sha256()
        with self._refusing(), self._zip.open(info) as member:
            while chunk := member.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != self.manifest["members"][name]["sha256"]:
            raise self.bad(
                f"{name} is damaged: its SHA-256 is {digest.hexdigest()[:16]}…, not the recorded one"
            )
        self._raw.seek(info.header_offset + 26)  # local header: lengths of name and extra field
        named, extra = struct.unpack("<HH", self._raw.read(4))
        return int(info.header_offset + 30 + named + extra)

    def bad(self, what: str, *, hint: str = AGAIN) -> BadTrace:
        """Return the error that says what is wrong with this file."""
        return BadTrace(f"{self.path} is not a sound trace: {what}.", hint=hint)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except BadTrace:
            raise
        except _BROKEN as error:
            raise self.bad(f"it is cut short or damaged ({error or type(error).__name__})") from error

    def _listed(self) -> dict[str, zipfile.ZipInfo]:
        infos = {info.filename: info for info in self._zip.infolist()}
        if len(infos) != len(self._zip.infolist()):
            raise self.bad("two members have one name")
        for name, info in infos.items():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise self.bad(f"{name[:80]!r} is a link or a device, not data")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 0x1:
                raise self.bad(
                    f"{name[:80]!r} is compressed or encrypted; a trace's members are stored as they are"
                )
            if info.compress_size != info.file_size:
                raise self.bad(
                    f"{name[:80]!r} says it has {info.file_size:,} bytes and {info.compress_size:,}"
                )
        claimed = sum(info.file_size for info in infos.values())
        if claimed > self.size:
            raise self.bad(f"its members claim {claimed:,} bytes and the file has {self.size:,}")
        return infos

    def _manifest(self) -> dict[str, Any]:
        info = self._infos.pop(MANIFEST, None)
        if info is None:
            raise self.bad(f"it has no {MANIFEST}")
        if info.file_size > MOST_MANIFEST:
            raise self.bad(f"its {MANIFEST} has {info.file_size:,} bytes, more than {MOST_MANIFEST:,}")
        with self._refusing(), self._zip.open(info) as member:
            manifest = strict_json(member.read())
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise self.bad(f"its {MANIFEST} is of something else")
        version = manifest.get("version")
        if type(version) is not int or not 1 <= version <= VERSION:
            newer = type(version) is int and version > VERSION
            raise self.bad(
                f"it has version {str(version)[:20]} of the format and this gemma_lab reads 1 to {VERSION}",
                hint="Update gemma_lab: pip install --upgrade gemma_lab." if newer else AGAIN,
            )
        return manifest

    def _agree(self, members: Any) -> None:
        """Refuse members that no trace has, or that the manifest says something else of."""
        if not isinstance(members, dict):
            raise self.bad(f"its {MANIFEST} lists no members")
        for name in [*members, *self._infos]:
            if not _MEMBER.fullmatch(name):
                raise self.bad(f"it holds {name[:80]!r}, which no trace does")
            if name not in members or name not in self._infos:
                raise self.bad(f"its {MANIFEST} and its contents disagree about {name}")
        for name, entry in members.items():
            size = self._infos[name].file_size
            if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"} or entry["bytes"] != size:
                raise self.bad(f"{name} has {size:,} bytes, which its {MANIFEST} does not say")


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """Open a trace file.

    Raises
    ------
    BadTrace
        If there is no such file, or it is not a trace.
    """
    if not path.is_file():
        what = "is a folder, not a trace" if path.is_dir() else "does not exist"
        raise BadTrace(f"{path} {what}.", hint=f"Relative paths start at {Path.cwd()}.")
    try:
        raw = path.open("rb")
    except OSError as error:
        raise BadTrace(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    with raw:
        start = raw.read(4)
        if start[:2] != b"PK":
            raise BadTrace(
                f"{path} is no trace: it begins with {start!r}, a trace with b'PK'.",
                hint="Open what Trace.save wrote.",
            )
        yield Archive(path, raw)
