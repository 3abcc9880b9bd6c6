"""Schema of a trace file's manifest, used to write it and to read it.

Shapes of arrays and tables follow from it, so every size is known before memory is allocated. See
``docs/trace-format.md``.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from ..records.attention import MAX_BINS, MAX_TOP_KEYS
from ..records.features import MAX_FEATURES, MAX_KEPT
from ..records.generation import MOST_TOP_LOGPROBS, FinishReason
from ..records.json_values import check_json
from ..records.logit_lens import MAX_TARGETS, MAX_TOP, LensKind
from ..records.routing import MAX_EXPERTS, Precision
from .strict_json import strict_json

_Schema = TypeVar("_Schema", bound=Struct)

FORMAT: Final = "gemma_lab trace"
VERSION: Final = 3
#: Sixteen times the longest context of the family.
MAX_TOKENS = 1 << 22
MAX_IMAGES = 10_000
#: Bytes; a prompt of 262,144 tokens takes about one megabyte.
MAX_MANIFEST = 64 << 20

Tokens = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
Size = Annotated[int, Meta(ge=1, le=1 << 20)]
Layer = Annotated[int, Meta(ge=0, le=1 << 16)]
Layers = Annotated[tuple[Layer, ...], Meta(max_length=4096)]


class Part(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts: every field is required, no other is accepted."""


class RoutingPart(Part):
    """The arrays of a `Routing`."""

    layers: Layers
    experts: Annotated[int, Meta(ge=1, le=MAX_EXPERTS)]
    top_k: Annotated[int, Meta(ge=1, le=MAX_EXPERTS)]
    precision: Precision

    def __post_init__(self) -> None:
        _unique("layers", self.layers)
        if self.top_k > self.experts:
            msg = f"top_k is {self.top_k} of {self.experts} experts"
            raise ValueError(msg)


class GenerationPart(Part):
    """The tables of a `Generation`."""

    tokens: Tokens
    top_logprobs: Annotated[int, Meta(ge=0, le=MOST_TOP_LOGPROBS)]
    finish_reason: FinishReason
    text: str


class LogitLensPart(Part, omit_defaults=True):
    """The tables of a `LogitLens`; `kind` is left out of a logit lens, as files had it before."""

    layers: Annotated[Layers, Meta(min_length=1)]
    positions: Tokens
    top: Annotated[int, Meta(ge=1, le=MAX_TOP)]
    targets: Annotated[int, Meta(ge=1, le=MAX_TARGETS + 1)]
    kind: LensKind = "logit"

    def __post_init__(self) -> None:
        _unique("layers", self.layers)


class FeaturesPart(Part):
    """The arrays of a `Features`."""

    sae: Annotated[str, Meta(max_length=1000)]
    layer: Layer
    features: Annotated[int, Meta(ge=1, le=MAX_FEATURES)]
    kept: Annotated[int, Meta(ge=1, le=MAX_KEPT)]
    total_variance: Annotated[float, Meta(ge=0)]
    min_variance_explained: Annotated[float, Meta(le=1)]
    same_weights: bool | None


class HeadLayoutPart(Part):
    """One `HeadLayout`."""

    layer: Layer
    kind: Literal["local", "global"]
    window: Annotated[int, Meta(ge=1)] | None
    heads: Size
    kv_heads: Size
    head_dim: Size
    kv_shared_from: Layer | None
    k_eq_v: bool


class BandPart(Part):
    """The band of one layer's pooled maps."""

    bins_before: Annotated[int, Meta(ge=0, lt=MAX_BINS)]
    columns: Annotated[int, Meta(ge=1, lt=2 * MAX_BINS)]


class FullRowPart(Part):
    """One attention row that was recorded in full."""

    layer: Layer
    query: Tokens
    first_key: Tokens
    keys: Tokens


class TowerPart(Part):
    """One `Tower`."""

    positions: Size
    layers: Size
    heads: Size
    bins: Size


class AttentionPart(Part):
    """The arrays of an `Attention`."""

    layers: Annotated[tuple[HeadLayoutPart, ...], Meta(min_length=1, max_length=4096)]
    heads: Annotated[tuple[Annotated[int, Meta(ge=0, le=1 << 16)], ...], Meta(min_length=1)]
    bin_edges: Annotated[tuple[Tokens, ...], Meta(min_length=2, max_length=MAX_BINS + 1)]
    labels: tuple[Annotated[str, Meta(max_length=63)], ...]
    pooled: tuple[BandPart, ...] | None
    statistics: Precision | None
    top_k: Annotated[int, Meta(ge=0, le=MAX_TOP_KEYS)]
    full_rows: tuple[FullRowPart, ...]
    towers: dict[Literal["vision", "audio"], tuple[TowerPart, ...]]

    def __post_init__(self) -> None:
        _unique("layers", [layout.layer for layout in self.layers])
        _unique("heads", self.heads)
        _unique("labels", self.labels)
        _unique("full_rows", [(row.layer, row.query) for row in self.full_rows])
        if self.pooled is not None and len(self.pooled) != len(self.layers):
            msg = f"pooled has {len(self.pooled)} entries for {len(self.layers)} layers"
            raise ValueError(msg)


class MemberPart(Part):
    """Size and checksum of a member of the file."""

    bytes: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Manifest(Part):
    """``manifest.json``."""

    format: Literal["gemma_lab trace"]
    version: Literal[3]
    tokens: Tokens
    routing: RoutingPart | None
    generation: GenerationPart | None
    logit_lens: LogitLensPart | None
    attention: AttentionPart | None
    images: Annotated[int, Meta(ge=0, le=MAX_IMAGES)]
    meta: dict[str, Any]
    timings: dict[str, float]
    members: dict[str, MemberPart]
    features: FeaturesPart | None = None  # left out of files without them, as they were before


def write_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as JSON, after reading it back as `read_manifest` does.

    Raises
    ------
    ValueError
        If `read_manifest` would refuse it; the path of the offending value is named.
    """
    check_json(manifest.meta, "meta")
    check_json(manifest.timings, "timings")
    fields = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    if fields["features"] is None:
        del fields["features"]
    free = {name: fields.pop(name) for name in ("meta", "timings")}
    data = json.dumps(msgspec.to_builtins(fields) | free, indent=1, allow_nan=False).encode("ascii")
    read_manifest(data)
    return data


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Raises
    ------
    WrongVersion
        If it is a manifest of another version of the format.
    ValueError
        If it is anything else than what the schema allows; the path of the offending value is named.
    """
    return read_schema(data, Manifest, file_format=FORMAT, version=VERSION, what="a trace")


def read_schema(data: bytes, schema: type[_Schema], *, file_format: str, version: int, what: str) -> _Schema:
    """Read ``manifest.json`` of a file in this container as a schema of msgspec.

    Parameters
    ----------
    file_format, version
        What the manifest has to state.
    what
        What it describes, for errors.

    Raises
    ------
    WrongVersion
        If it is a manifest of another version of the format.
    ValueError
        If it is anything else than what the schema allows; the path of the offending value is named.
    """
    if len(data) > MAX_MANIFEST:
        msg = f"manifest.json has {len(data):,} bytes, more than {MAX_MANIFEST:,}"
        raise ValueError(msg)
    try:
        values = strict_json(data)
    except ValueError as error:
        msg = f"manifest.json cannot be read: {error}"
        raise ValueError(msg) from error
    if not isinstance(values, dict) or values.get("format") != file_format:
        msg = "manifest.json is of something else"
        raise ValueError(msg)
    if values.get("version") != version or isinstance(values["version"], bool):
        raise WrongVersion(values.get("version"), reads=version)
    try:
        manifest = msgspec.convert(values, schema)
    except msgspec.ValidationError as error:
        msg = f"manifest.json does not describe {what}: {str(error).replace('`$.', '`')[:300]}"
        raise ValueError(msg) from error
    check_json(values, "manifest.json")
    return manifest


class WrongVersion(ValueError):
    """A manifest of another version of the format.

    Parameters
    ----------
    version
        What the manifest states.
    reads
        The version that is read.
    """

    def __init__(self, version: Any, *, reads: int = VERSION) -> None:
        super().__init__(f"it has version {str(version)[:20]} of the format; this gemma_lab reads {reads}")
        self.newer = type(version) is int and version > reads


def _unique(name: str, values: Iterable[Hashable]) -> None:
    listed = list(values)
    if len(set(listed)) != len(listed):
        msg = f"{name} repeat"
        raise ValueError(msg)
