"""A causal map as one file, in the container of traces: written atomically, and verified when it is read.

The format is described in ``docs/causal-maps.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Meta

from ...checks import as_path, short_repr
from ...errors import BadEdit, BadTrace, LabError
from ...models.tokens.table import TokenTable
from ...trace.interventions.edit import Edit
from ...trace.records.json_values import check_json
from ...trace.storage.arrow_tables import TOKENS
from ...trace.storage.container import Archive, FileKind, reading, writing
from ...trace.storage.images import MAX_PIXELS, read_images, write_image
from ...trace.storage.parquet import member_of, read_table, write_table
from ...trace.storage.schema import MAX_IMAGES, Layers, MemberPart, Size, Tokens, read_schema
from ...trace.storage.schema import Part as ManifestPart
from ...trace.storage.tensors import Shapes, read_tensors, widest_first, write_tensors
from .cells import BY_SPAN, PARTS, Part
from .grid import CausalGrid
from .map_records import MapRecords, Patching

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...models.chat.request import Request

FORMAT: Final = "gemma_lab causal map"
VERSION: Final = 1
_EFFECTS = "effects.safetensors"
_TABLES = ("clean_tokens", "corrupted_tokens")
#: What a request that is passed shares with the one that is stated.
_SHARED = ("messages", "ids", "media", "tools", "thinking", "raw", "max_soft_tokens")
_Text = Annotated[str, Meta(max_length=100_000)]
_Index = Annotated[int, Meta(ge=0, lt=1 << 22)]
_LogProb = Annotated[float, Meta(le=1e-6)]  # rounding leaves some above 0


class GridPart(ManifestPart):
    """The arrays of a `CausalGrid`."""

    part: Part
    layers: Annotated[Layers, Meta(min_length=1)]
    columns: Size


class MapManifest(ManifestPart):
    """``manifest.json`` of a causal map."""

    format: Literal["gemma_lab causal map"]
    version: Literal[1]
    model: _Text
    weights: dict[str, _Text]
    adapter: dict[str, _Text] | None
    active_edit: dict[str, Any]
    patching: Patching
    method: Literal["exact", "gradient"]
    prompts: tuple[dict[str, Any], dict[str, Any]]
    answer: Annotated[tuple[_Index, ...], Meta(min_length=1)]
    answer_text: _Text
    clean_logprob: _LogProb
    corrupted_logprob: _LogProb
    tokens: Tokens
    spans: Annotated[tuple[tuple[_Index, _Index], ...], Meta(min_length=1)]
    differing: tuple[_Index, ...]
    positions: tuple[_Index, ...]
    draws: Annotated[int, Meta(ge=0, le=1 << 20)]
    grids: Annotated[tuple[GridPart, ...], Meta(min_length=1, max_length=len(PARTS))]
    images: Annotated[int, Meta(ge=0, le=MAX_IMAGES)]
    members: dict[str, MemberPart]

    def __post_init__(self) -> None:
        _refuse(len(self.answer) > self.tokens, "its answer is longer than its prompts")
        _refuse(any(not 0 <= a < b <= self.tokens for a, b in self.spans), "a span is beyond its tokens")
        for name, places in (("differing", self.differing), ("positions", self.positions)):
            _refuse(list(places) != sorted(set(places)), f"{name} are not ascending")
            _refuse(bool(places) and places[-1] >= self.tokens, f"{name} are beyond its tokens")
        order = [PARTS.index(grid.part) for grid in self.grids]
        _refuse(order != sorted(set(order)), "its parts are not in order")
        for grid in self.grids:
            _refuse(list(grid.layers) != sorted(set(grid.layers)), f"layers of {grid.part} are not ascending")
            wrong = grid.part in BY_SPAN and grid.columns != len(self.spans)
            _refuse(wrong, f"{grid.part} has {grid.columns} columns of {len(self.spans)} spans")


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise ValueError(what)


def write_manifest(manifest: MapManifest) -> bytes:
    """Return a manifest as JSON, after reading it back.

    Raises
    ------
    ValueError
        If `read_manifest` would refuse it.
    """
    values = msgspec.to_builtins(manifest)
    check_json(values, "the map")
    data = json.dumps(values, indent=1, allow_nan=False).encode("ascii")
    read_manifest(data)
    return data


def read_manifest(data: bytes) -> MapManifest:
    """Read a manifest.

    Raises
    ------
    WrongVersion
        If it is a manifest of another version of the format.
    ValueError
        If it is anything else than what the schema allows.
    """
    return read_schema(data, MapManifest, file_format=FORMAT, version=VERSION, what="a causal map")


KIND = FileKind(
    "causal map",
    re.compile(rf"{re.escape(_EFFECTS)}|tables/({'|'.join(_TABLES)})\.parquet|images/[0-9]{{1,4}}\.png"),
    read_manifest,
    "make the map again",
)


def write_map(found: MapRecords, path: str | Path, *, images: bool = False) -> Path:
    """Write a causal map as one file; see `CausalMap.save`."""
    stored = _pictures(found) if images else []
    pixels = sum(image.width * image.height for image in stored)
    if len(stored) > MAX_IMAGES or pixels > MAX_PIXELS:
        raise LabError(
            f"The prompts have {len(stored):,} pictures of {pixels / 1e6:.0f} Mpx; a file holds at most "
            f"{MAX_IMAGES:,} of {MAX_PIXELS / 1e6:.0f} Mpx.",
            hint="Save the map without images=True.",
        )
    target = as_path("path", path, example='found.save("recall.map")')
    try:
        manifest = _manifest(found, len(stored))
        write_manifest(manifest)
    except (TypeError, ValueError) as error:
        raise LabError(f"The map cannot be saved: {error}.", hint="Its numbers have to be finite.") from error
    grids = {grid.part: grid for grid in found.grids.values()}
    with writing(target) as writer:
        write_tensors(
            writer, _EFFECTS, _shapes(manifest.grids, manifest.draws), lambda name: [_array(grids, name)]
        )
        for name, tokens in zip(_TABLES, (found.clean_tokens, found.corrupted_tokens), strict=True):
            number = pa.array(np.arange(len(tokens), dtype=np.int32))
            write_table(writer, name, tokens.to_arrow().add_column(0, "token", number).cast(TOKENS))
        for place, image in enumerate(stored):
            write_image(writer, place, image)
        writer.finish(manifest, write_manifest)
    return target


def read_map(path: str | Path, *, requests: Sequence[Request] | None = None) -> MapRecords:
    """Read the parts of a saved causal map; see `gemma_lab.open_causal_map`."""
    with reading(as_path("path", path, example='gl.open_causal_map("recall.map")'), KIND) as archive:
        try:
            found = _read(archive)
            media = read_images(archive, archive.manifest.images)
        except BadEdit as error:
            raise archive.bad(f"its edit cannot be read ({error.what})") from error
        except BadTrace as error:
            if error.what.startswith(str(archive.path)):
                raise
            raise archive.bad(error.what.removesuffix(".")) from error
    return replace(found, media=media if requests is None else _media_of(found, requests))


def _media_of(found: MapRecords, requests: Any) -> tuple[Any, ...]:
    """Return the media of requests, after comparing them with those of a map."""
    from ...models.chat.request import Request

    listed = list(requests) if isinstance(requests, Sequence) else []
    if len(listed) != 2 or not all(isinstance(each, Request) for each in listed):
        raise LabError(
            f"requests is {short_repr(requests)}.", hint="Pass two: (lab.request(…), lab.request(…))."
        )
    for name, request, stated in zip(("clean", "corrupted"), listed, found.prompts, strict=True):
        given = request.to_meta()
        other = [key for key in _SHARED if given[key] != stated[key]]
        if other:
            raise LabError(
                f"The {name} request is not that of the map: other {', '.join(other)}.",
                hint="Pass the requests that it was made with, the clean one first.",
            )
    return tuple(medium for request in listed for _, medium in request.media)


def _manifest(found: MapRecords, images: int) -> MapManifest:
    return MapManifest(
        format=FORMAT,
        version=VERSION,
        model=found.model,
        weights=dict(found.weights),
        adapter=None if found.adapter is None else dict(found.adapter),
        active_edit=found.active_edit.to_dict(),
        patching=found.patching,
        method=found.method,
        prompts=(dict(found.prompts[0]), dict(found.prompts[1])),
        answer=found.answer,
        answer_text=found.answer_text,
        clean_logprob=found.clean_logprob,
        corrupted_logprob=found.corrupted_logprob,
        tokens=len(found.clean_tokens),
        spans=found.spans,
        differing=found.differing,
        positions=found.positions,
        draws=max(len(grid.controls) for grid in found.grids.values()),
        grids=tuple(
            GridPart(part=part, layers=found.grids[part].layers, columns=found.grids[part].effects.shape[1])
            for part in found.parts
        ),
        images=images,
        members={},
    )


def _shapes(grids: Sequence[GridPart], draws: int) -> Shapes:
    """Return type and shape of every array by its name."""
    shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for grid in grids:
        cells = (len(grid.layers), grid.columns)
        shapes[f"{grid.part}.effects"] = (np.dtype("<f8"), cells)
        shapes[f"{grid.part}.controls"] = (np.dtype("<f8"), (draws, *cells))
        shapes[f"{grid.part}.readout"] = (np.dtype("|u1"), (grid.columns,))
    return widest_first(shapes)


def _array(grids: Mapping[Part, CausalGrid], name: str) -> Any:
    part, which = name.split(".")
    return getattr(grids[part], which)  # type: ignore[index]


def _read(archive: Archive) -> MapRecords:
    manifest: MapManifest = archive.manifest
    wanted = {_EFFECTS, *map(member_of, _TABLES)} | {
        f"images/{place}.png" for place in range(manifest.images)
    }
    for what, names in (("lacks", wanted - set(manifest.members)), ("holds", set(manifest.members) - wanted)):
        if names:
            raise archive.bad(f"it {what} {min(names)}, contrary to its manifest")
    arrays = read_tensors(archive, _EFFECTS, _shapes(manifest.grids, manifest.draws))
    tables = [_tokens(archive, name, manifest.tokens) for name in _TABLES]
    return MapRecords(
        model=manifest.model,
        patching=manifest.patching,
        method=manifest.method,
        prompts=manifest.prompts,
        clean_tokens=tables[0],
        corrupted_tokens=tables[1],
        answer=manifest.answer,
        answer_text=manifest.answer_text,
        clean_logprob=manifest.clean_logprob,
        corrupted_logprob=manifest.corrupted_logprob,
        spans=manifest.spans,
        differing=manifest.differing,
        positions=manifest.positions,
        grids={grid.part: _grid(archive, grid, arrays) for grid in manifest.grids},
        weights=manifest.weights,
        adapter=manifest.adapter,
        active_edit=Edit.from_dict(manifest.active_edit),
    )


def _grid(archive: Archive, part: GridPart, arrays: Mapping[str, Any]) -> CausalGrid:
    effects, controls, readout = (
        arrays[f"{part.part}.{name}"] for name in ("effects", "controls", "readout")
    )
    if np.isinf(effects).any() or np.isinf(controls).any() or (readout > 1).any():
        raise archive.bad(f"the effects of {part.part} are infinite, or a flag is neither 0 nor 1")
    return CausalGrid(part.part, part.layers, effects, controls, readout.astype(bool))


def _tokens(archive: Archive, name: str, count: int) -> TokenTable:
    table = read_table(archive, name, schema=TOKENS, rows=count)
    if not np.array_equal(table.column("token").to_numpy(), np.arange(count)):
        raise archive.bad("its tokens are not in order")
    return TokenTable.from_arrow(table)


def _pictures(found: MapRecords) -> list[Image]:
    return [*found.clean.of_kind("image"), *found.corrupted.of_kind("image")]
