"""The container of a saved result: a ZIP whose members are stored uncompressed, each with its checksum.

Because nothing is compressed, a member cannot be larger in memory than in the file, arrays can be mapped in
place, and any ZIP tool opens the file. Nothing is ever extracted to a path.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec

from ...errors import BadTrace, LabError
from ...files import unwritable
from .schema import MAX_MANIFEST, MemberPart, WrongVersion, read_manifest

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class FileKind:
    """What a file holds.

    Attributes
    ----------
    noun
        Its name in errors, ``"trace"``.
    members
        Every name that it may hold beside its manifest.
    read_manifest
        Returns its manifest, a structure with ``members``; raises ValueError for anything else.
    remedy
        How to make another one, ``"trace again"``.
    """

    noun: str
    members: re.Pattern[str]
    read_manifest: Callable[[bytes], Any]
    remedy: str

    @property
    def again(self) -> str:
        """The hint of errors."""
        return f"Copy the file again from where it was made, or {self.remedy}."


TRACE = FileKind(
    "trace",
    re.compile(
        r"(arrays|attention|features)\.safetensors"
        r"|tables/(tokens|generation|top_logprobs|logit_lens|logit_lens_targets)\.parquet"
        r"|images/[0-9]{1,4}\.png"
    ),
    read_manifest,
    "trace again",
)
_CHUNK = 1 << 20
#: What zipfile raises for files that are not sound.
_BROKEN = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    struct.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    EOFError,
    OSError,
)


class Writer:
    """Adds members to the file that `writing` opened."""

    def __init__(self, raw: BinaryIO, archive: zipfile.ZipFile) -> None:
        self._raw, self._archive = raw, archive
        self.members: dict[str, MemberPart] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add a member."""
        with self.stream(name, size=len(data)) as (write, _):
            write(data)

    @contextmanager
    def stream(self, name: str, *, size: int) -> Iterator[tuple[Any, int]]:
        """Open a member of about `size` bytes; yields ``write(bytes-like)`` and its offset in the file."""
        info = zipfile.ZipInfo(name)  # dated 1980: the same result gives the same bytes
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
        self.members[name] = MemberPart(bytes=written, sha256=digest.hexdigest())

    def finish(self, manifest: msgspec.Struct, write: Callable[[Any], bytes]) -> None:
        """Add the manifest as `write` returns it, with the checksums of all members added before."""
        self.add(MANIFEST, write(msgspec.structs.replace(manifest, members=self.members)))


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a temporary file beside `path` and move it there once it is complete; on an error, remove it.

    Raises
    ------
    LabError
        If it cannot be written there.
    """
    if "\0" in str(path):
        raise LabError(f"{str(path)!r} is no path.", hint="It has a NUL character.")
    target = path.resolve()  # so that a symbolic link stays one
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as raw:
            with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
                yield Writer(raw, archive)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(target)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):  # it was moved, or its folder does not exist
            part.unlink()


class Archive:
    """An open file: its manifest, and its members, each verified when it is read.

    Parameters
    ----------
    path
        The file.
    raw
        The same, open for reading.
    kind
        What it is to hold.

    Raises
    ------
    BadTrace
        If it is not a ZIP, is cut short, or holds anything that a file of this kind does not.
    """

    def __init__(self, path: Path, raw: IO[bytes], kind: FileKind = TRACE) -> None:
        self.path = path
        self.kind = kind
        self._raw = raw
        self.size = os.fstat(raw.fileno()).st_size
        with self._refusing():
            self._zip = zipfile.ZipFile(raw)
        self._infos = self._listed()
        self.manifest: Any = self._manifest()
        self._check_members(self.manifest.members)

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
        if digest.hexdigest() != self.manifest.members[name].sha256:
            raise self.bad(
                f"{name} is damaged: its SHA-256 is {digest.hexdigest()[:16]}…, not the recorded one"
            )
        self._raw.seek(info.header_offset + 26)  # local header: lengths of name and extra field
        named, extra = struct.unpack("<HH", self._raw.read(4))
        return int(info.header_offset + 30 + named + extra)

    def bad(self, what: str, *, hint: str = "") -> BadTrace:
        """Return the error that names this file and what is wrong with it."""
        return BadTrace(f"{self.path} is not a valid {self.kind.noun}: {what}.", hint=hint or self.kind.again)

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
                    f"{name[:80]!r} is compressed or encrypted; members of a {self.kind.noun} are stored "
                    "uncompressed"
                )
            if info.compress_size != info.file_size:
                raise self.bad(
                    f"{name[:80]!r} claims both {info.file_size:,} and {info.compress_size:,} bytes"
                )
        claimed = sum(info.file_size for info in infos.values())
        if claimed > self.size:
            raise self.bad(f"its members claim {claimed:,} bytes and the file has {self.size:,}")
        return infos

    def _manifest(self) -> Any:
        info = self._infos.pop(MANIFEST, None)
        if info is None:
            raise self.bad(f"it has no {MANIFEST}")
        with self._refusing(), self._zip.open(info) as member:
            data = member.read(MAX_MANIFEST + 1)
        try:
            return self.kind.read_manifest(data)
        except WrongVersion as error:
            redo = f"{self.kind.remedy.capitalize()}."
            hint = "Update gemma_lab: pip install --upgrade gemma_lab." if error.newer else redo
            raise self.bad(str(error), hint=hint) from error
        except ValueError as error:
            raise self.bad(str(error)) from error

    def _check_members(self, stated: dict[str, MemberPart]) -> None:
        """Refuse members that no file of this kind has, or that the manifest does not describe."""
        for name in [*stated, *self._infos]:
            if not self.kind.members.fullmatch(name):
                raise self.bad(f"it holds {name[:80]!r}, which no {self.kind.noun} does")
            if name not in stated or name not in self._infos:
                raise self.bad(f"its {MANIFEST} and its contents disagree about {name}")
            size = self._infos[name].file_size
            if stated[name].bytes != size:
                raise self.bad(f"{name} has {size:,} bytes and its {MANIFEST} states {stated[name].bytes:,}")


@contextmanager
def reading(path: Path, kind: FileKind = TRACE) -> Iterator[Archive]:
    """Open a file of a kind.

    Raises
    ------
    BadTrace
        If there is no such file, or it is not of this kind.
    """
    if not path.is_file():
        what = f"is a folder, not a {kind.noun}" if path.is_dir() else "does not exist"
        raise BadTrace(f"{path} {what}.", hint=f"Relative paths start at {Path.cwd()}.")
    try:
        raw = path.open("rb")
    except OSError as error:
        raise BadTrace(f"{path} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    with raw:
        start = raw.read(4)
        if start[:2] != b"PK":
            raise BadTrace(
                f"{path} is not a {kind.noun}: it begins with {start!r}, a {kind.noun} with b'PK'.",
                hint=f"Open a file that the method save of a {kind.noun} wrote.",
            )
        yield Archive(path, raw, kind)
