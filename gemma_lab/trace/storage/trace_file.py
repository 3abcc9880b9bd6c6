"""A trace as one file: written atomically, and verified when it is read.

The format is described in ``docs/trace-format.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import as_path
from ...errors import BadTrace, LabError
from ...models.tokens.table import TokenTable
from ..records.generation import Generation
from ..records.trace_records import TraceRecords
from .arrow_tables import ALTERNATIVES, GENERATION, TOKENS, generated_rows, stored_tables
from .attention import MEMBER as ATTENTION_ARRAYS
from .attention import attention_part, read_attention, write_attention
from .container import Archive, reading, writing
from .features import MEMBER as FEATURE_ARRAYS
from .features import features_part, read_features, write_features
from .images import MAX_PIXELS, read_images, write_image
from .logit_lens import SCHEMAS as LENS_TABLES
from .logit_lens import logit_lens_part, read_logit_lens
from .parquet import member_of, read_columns, read_table, write_table
from .routing import MEMBER as ROUTING_ARRAYS
from .routing import read_routing, routing_part, write_routing
from .schema import FORMAT, MAX_IMAGES, VERSION, GenerationPart, Manifest, write_manifest

if TYPE_CHECKING:
    from PIL.Image import Image


def write_trace(records: TraceRecords, path: str | Path, *, images: bool = False) -> Path:
    """Write a trace as one file; an existing one is replaced once the new one is complete.

    Parameters
    ----------
    records
        The parts of the trace.
    path
        Where to write. Any name will do; the file is a ZIP.
    images
        Whether to store the prompt's images, as PNG. Without them the file still has their hashes.

    Returns
    -------
    Path

    Raises
    ------
    LabError
        If it cannot be written there, or `read_trace` would refuse it: too many tokens or pixels, values that
        no model gives, or values in ``meta`` or ``timings`` that are not JSON.
    """
    target = as_path("path", path, example='trace.save("recall.trace")')
    stored = records.images if images else ()
    manifest = _manifest(records, stored)
    with writing(target) as writer:
        if records.routing is not None:  # first, where no padding is needed to align it
            write_routing(writer, records.routing)
        if records.attention is not None:
            write_attention(writer, records.attention)
        if records.features is not None:
            write_features(writer, records.features)
        for name, table in stored_tables(records).items():
            write_table(writer, name, table)
        for number, image in enumerate(stored):
            write_image(writer, number, image)
        writer.finish(manifest, write_manifest)
    return target


def read_trace(path: str | Path) -> TraceRecords:
    """Read the parts of a saved trace, without torch and without the model.

    Everything is verified: the checksum of every member, every shape against the manifest, every number
    against what a model can give. Arrays above 64 MiB stay in the file, as read-only memory maps.

    Raises
    ------
    BadTrace
        If there is no such file, or it is truncated, altered, of another version, or not a trace at all.
    """
    with reading(as_path("path", path, example='gl.open_trace("recall.trace")')) as archive:
        try:
            records = _read(archive)
            records.check()
        except BadTrace as error:
            if error.what.startswith(str(archive.path)):
                raise
            raise archive.bad(error.what.removesuffix(".")) from error  # name the file in the error
    return records


def _manifest(records: TraceRecords, images: tuple[Image, ...]) -> Manifest:
    """Return the manifest without members, after checking that `read_trace` takes it and all values."""
    pixels = sum(image.width * image.height for image in images)
    if pixels > MAX_PIXELS or len(images) > MAX_IMAGES:
        raise LabError(
            f"The trace has {len(images):,} images of {pixels / 1e6:.0f} Mpx; "
            f"a file holds at most {MAX_IMAGES:,} of {MAX_PIXELS / 1e6:.0f} Mpx.",
            hint="Save it without images=True; it then has their hashes.",
        )
    routing, generation, lens = records.routing, records.generation, records.logit_lens
    records.check()
    try:
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            tokens=len(records),
            routing=None if routing is None else routing_part(routing),
            generation=None if generation is None else _generation_part(generation),
            logit_lens=None if lens is None else logit_lens_part(lens),
            attention=None if records.attention is None else attention_part(records.attention),
            images=len(images),
            meta=records.meta,
            timings=records.timings,
            members={},
            features=None if records.features is None else features_part(records.features),
        )
        write_manifest(manifest)
    except (TypeError, ValueError) as error:
        raise LabError(
            f"The trace cannot be saved: {error}.",
            hint="A file holds traces within the limits of docs/trace-format.md, and JSON as meta.",
        ) from error
    return manifest


def _generation_part(generation: Generation) -> GenerationPart:
    return GenerationPart(
        tokens=len(generation),
        top_logprobs=generation.top_logprobs,
        finish_reason=generation.finish_reason,
        text=generation.text,
    )


def _read(archive: Archive) -> TraceRecords:
    manifest: Manifest = archive.manifest
    routing, generation, lens = manifest.routing, manifest.generation, manifest.logit_lens
    attention, features, count = manifest.attention, manifest.features, manifest.tokens
    _check_members(archive)
    tokens = _read_tokens(archive, count)
    return TraceRecords(
        tokens,
        routing=None if routing is None else read_routing(archive, routing, tokens=count),
        generation=None if generation is None else _read_generation(archive, generation, tokens=tokens),
        meta=manifest.meta,
        timings=manifest.timings,
        images=read_images(archive, manifest.images),
        attention=None if attention is None else read_attention(archive, attention, tokens=count),
        logit_lens=None if lens is None else read_logit_lens(archive, lens),
        features=None if features is None else read_features(archive, features, tokens=count),
    )


def _check_members(archive: Archive) -> None:
    """Refuse a file that lacks a member, or has one that its manifest does not need."""
    manifest: Manifest = archive.manifest
    wanted = {member_of("tokens")} | {f"images/{number}.png" for number in range(manifest.images)}
    if manifest.routing is not None:
        wanted.add(ROUTING_ARRAYS)
    if manifest.attention is not None:
        wanted.add(ATTENTION_ARRAYS)
    if manifest.features is not None:
        wanted.add(FEATURE_ARRAYS)
    if manifest.generation is not None:
        wanted |= {member_of("generation"), member_of("top_logprobs")}
    if manifest.logit_lens is not None:
        wanted |= {member_of(name) for name in LENS_TABLES}
    if unused := sorted(manifest.members.keys() - wanted):
        raise archive.bad(f"it holds {unused[0]}, for which its manifest has no use")
    if missing := sorted(wanted - manifest.members.keys()):
        raise archive.bad(f"it lacks {missing[0]}")


def _read_tokens(archive: Archive, count: int) -> TokenTable:
    table = read_table(archive, "tokens", schema=TOKENS, rows=count)
    if not np.array_equal(table.column("token").to_numpy(), np.arange(count)):
        raise archive.bad("its tokens are not in order")
    return TokenTable.from_arrow(table)


def _read_generation(archive: Archive, part: GenerationPart, *, tokens: TokenTable) -> Generation:
    n, alternatives = part.tokens, part.top_logprobs
    chosen = read_columns(archive, "generation", schema=GENERATION, rows=n)
    others = read_columns(archive, "top_logprobs", schema=ALTERNATIVES, rows=n * alternatives)
    position = np.arange(n)
    expected: list[tuple[Any, Any]] = [
        (chosen["position"], position),
        (chosen["token"], generated_rows(tokens, n)),
        (others["position"], np.repeat(position, alternatives)),
        (others["rank"], np.tile(np.arange(alternatives), n)),
    ]
    if not all(np.array_equal(found, wanted) for found, wanted in expected):
        raise archive.bad("its generated tokens are not in order")
    return Generation(
        ids=chosen["id"],
        logprobs=chosen["logprob"],
        entropy=chosen["entropy"],
        alternative_ids=others["id"].reshape(n, alternatives),
        alternative_logprobs=others["logprob"].reshape(n, alternatives),
        finish_reason=part.finish_reason,
        text=part.text,
        forbidden=chosen["forbidden"],
        first_choice_ids=chosen["first_choice"],
        overruled=chosen["overruled"],
    )
