"""A trace as one file: written whole or not at all, read with suspicion.

The format is described in ``docs/trace-format.md``.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL.Image import Image

from ...errors import BadMedia, BadTrace, LabError
from ...models.media import load_image
from ..records.generation import Generation
from ..tokens.table import TokenTable
from ..trace import Trace
from .arrow_tables import ALTERNATIVES, GENERATION, TOKENS, generated_rows, stored_tables
from .attention import MEMBER as LOOKS
from .attention import LooksLayout, read_attention, write_attention
from .container import Archive, Writer, reading, writing
from .logit_lens import SCHEMAS as LENS_TABLES
from .logit_lens import lens_entry, read_lens
from .parquet import read_table, write_table
from .routing import MEMBER, Layout, read_routing, write_routing

if TYPE_CHECKING:
    import pyarrow as pa

#: Sixteen times the longest context of the family.
MOST_TOKENS = 1 << 22
MOST_ALTERNATIVES = 4096
MOST_PICTURES = 10_000
#: Of all pictures together: 600 MB as RGB.
MOST_PIXELS = 200_000_000
_PNG = b"\x89PNG\r\n\x1a\n"


def save_trace(trace: Trace, path: str | Path, *, images: bool = False) -> Path:
    """Write a trace as one file; an existing one is replaced once the new one is complete.

    Parameters
    ----------
    trace
        The trace.
    path
        Where to write. Any name will do; the file is a ZIP.
    images
        Whether to put the prompt's pictures into it, as PNG. Without them the file still says which they
        were, by their hashes.

    Returns
    -------
    Path

    Raises
    ------
    LabError
        If it cannot be written there, or holds what no trace file can: too many tokens or pixels, or values
        in ``meta`` or ``timings`` that are no JSON.
    """
    target = Path(path).expanduser()
    manifest = _manifest(trace, pictures=trace.images if images else ())
    with writing(target) as writer:
        if trace.routing is not None:  # first, where its place in the file is aligned without more ado
            write_routing(writer, trace.routing)
        if trace.attention is not None:
            write_attention(writer, trace.attention)
        for name, table in stored_tables(trace).items():
            write_table(writer, name, table)
        for number, image in enumerate(trace.images if images else ()):
            _write_picture(writer, number, image)
        writer.finish(manifest)
    return target


def open_trace(path: str | Path) -> Trace:
    """Read a saved trace. Needs neither torch nor the model.

    Everything is verified: the checksum of every member, every shape against the manifest, every number
    against what a model can give. Arrays above 64 MiB stay in the file, as read-only memory maps.

    Parameters
    ----------
    path
        What `Trace.save` wrote.

    Returns
    -------
    Trace

    Raises
    ------
    BadTrace
        If there is no such file, or it is truncated, altered, of another version, or not a trace at all.
    """
    with reading(Path(path).expanduser()) as archive:
        try:
            return _read(archive)
        except BadTrace as error:
            if error.what.startswith(str(archive.path)):
                raise
            # from a part that does not know which file it came from
            raise archive.bad(error.what.removesuffix(".")) from error


def _read(archive: Archive) -> Trace:
    manifest = archive.manifest
    count, pictures = manifest.get("tokens"), manifest.get("images")
    meta, timings = manifest.get("meta"), manifest.get("timings")
    if not _count(count, MOST_TOKENS) or not _count(pictures, MOST_PICTURES):
        raise archive.bad("its manifest does not say how many tokens and pictures it has")
    if not isinstance(meta, dict) or not isinstance(timings, dict):
        raise archive.bad("its manifest has no meta or no timings")
    parts = ("routing", "generation", "logit_lens", "attention")
    routed, written, glass, looked = (manifest.get(name) for name in parts)
    _expect(
        archive, routing=routed is not None, generation=written is not None, logit_lens=glass is not None,
        attention=looked is not None, pictures=pictures,
    )  # fmt: skip
    tokens, routing, generation = _read_tokens(archive, count), None, None
    if routed is not None:
        routing = read_routing(archive, Layout.read(routed, tokens=count, archive=archive))
    if written is not None:
        generation = _read_generation(archive, written, tokens=tokens)
    attention = None
    if looked is not None:
        attention = read_attention(archive, LooksLayout.read(looked, tokens=count, archive=archive))
    return Trace(
        tokens, routing, generation, meta, timings, _read_pictures(archive, pictures), attention=attention,
        logit_lens=None if glass is None else read_lens(archive, glass),
    )  # fmt: skip


def _manifest(trace: Trace, *, pictures: tuple[Image, ...]) -> dict[str, Any]:
    """Return what the manifest says beside the checksums, once it is sure that it can be said."""
    routing, generation = trace.routing, trace.generation
    if len(trace) > MOST_TOKENS:
        raise LabError(
            f"The trace has {len(trace):,} tokens; a file holds at most {MOST_TOKENS:,}.",
            hint="Save it in parts.",
        )
    pixels = sum(image.width * image.height for image in pictures)
    if pixels > MOST_PIXELS or len(pictures) > MOST_PICTURES:
        raise LabError(
            f"The trace has {len(pictures):,} pictures of {pixels / 1e6:.0f} Mpx; "
            f"a file holds at most {MOST_PICTURES:,} of {MOST_PIXELS / 1e6:.0f} Mpx.",
            hint="Save it without images=True; it then keeps their hashes.",
        )
    manifest = {
        "tokens": len(trace),
        "routing": None if routing is None else Layout.of(routing).entry(),
        "generation": None if generation is None else _generation_entry(generation),
        "logit_lens": None if trace.logit_lens is None else lens_entry(trace.logit_lens),
        "attention": None if trace.attention is None else LooksLayout.of(trace.attention).entry(),
        "images": len(pictures),
        "meta": trace.meta,
        "timings": trace.timings,
    }
    try:
        json.dumps(manifest, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise LabError(
            f"The trace's meta or timings cannot be saved: {error}.",
            hint="They hold what JSON holds: text, finite numbers, lists and dicts.",
        ) from error
    return manifest


def _generation_entry(generation: Generation) -> dict[str, Any]:
    return {
        "tokens": len(generation),
        "top_logprobs": generation.top_logprobs,
        "finish_reason": generation.finish_reason,
        "text": generation.text,
    }


def _count(value: Any, most: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= most


def _expect(
    archive: Archive, *, routing: bool, generation: bool, logit_lens: bool, attention: bool, pictures: int
) -> None:
    """Refuse a file that lacks a member, or has one that its manifest has no use for."""
    wanted = {"tables/tokens.parquet": True, MEMBER: routing, LOOKS: attention}
    wanted |= dict.fromkeys(("tables/generation.parquet", "tables/top_logprobs.parquet"), generation)
    wanted |= {f"tables/{name}.parquet": logit_lens for name in LENS_TABLES}
    wanted |= {f"images/{number}.png": True for number in range(pictures)}
    for name in archive.manifest["members"]:
        if not wanted.get(name, False):
            raise archive.bad(f"it holds {name}, for which its manifest has no use")
    for name, needed in wanted.items():
        if needed and name not in archive:
            raise archive.bad(f"it lacks {name}")


def _read_tokens(archive: Archive, count: int) -> TokenTable:
    table = read_table(archive, "tokens", schema=TOKENS, rows=count)
    if not np.array_equal(table.column("token").to_numpy(), np.arange(count)):
        raise archive.bad("its tokens are not in their order")
    return TokenTable.from_arrow(table)


def _read_generation(archive: Archive, entry: Any, *, tokens: TokenTable) -> Generation:
    entry = entry if isinstance(entry, dict) else {}
    n, a, finish_reason, text = (
        entry.get(key) for key in ("tokens", "top_logprobs", "finish_reason", "text")
    )
    if not _count(n, MOST_TOKENS) or not _count(a, MOST_ALTERNATIVES):
        raise archive.bad("its manifest does not say how many tokens were generated")
    if not isinstance(finish_reason, str) or not isinstance(text, str):
        raise archive.bad("its manifest does not say what was generated")
    chosen = _columns(archive, read_table(archive, "generation", schema=GENERATION, rows=n))
    others = _columns(archive, read_table(archive, "top_logprobs", schema=ALTERNATIVES, rows=n * a))
    position = np.arange(n)
    in_order = (
        np.array_equal(chosen["position"], position)
        and np.array_equal(chosen["token"], generated_rows(tokens, n))
        and np.array_equal(others["position"], np.repeat(position, a))
        and np.array_equal(others["rank"], np.tile(np.arange(a), n))
    )
    if not in_order:
        raise archive.bad("its generated tokens are not in their order")
    return Generation(
        ids=chosen["id"], logprobs=chosen["logprob"], entropy=chosen["entropy"],
        alternative_ids=others["id"].reshape(n, a), alternative_logprobs=others["logprob"].reshape(n, a),
        finish_reason=finish_reason, text=text,
    )  # fmt: skip


def _columns(archive: Archive, table: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    if any(column.null_count for column in table.columns):
        raise archive.bad("a table of its generated tokens has empty cells")
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _write_picture(writer: Writer, number: int, image: Image) -> None:
    sink = io.BytesIO()
    load_image(image).save(sink, format="PNG")  # as the models take it, and without the file's own metadata
    writer.add(f"images/{number}.png", sink.getvalue())


def _read_pictures(archive: Archive, count: int) -> tuple[Image, ...]:
    images, pixels = [], 0
    for number in range(count):
        name = f"images/{number}.png"
        data = archive.read(name)
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        pixels += width * height
        if not data.startswith(_PNG) or data[12:16] != b"IHDR" or pixels > MOST_PIXELS:
            raise archive.bad(f"{name} is no PNG, or its pictures have more than {MOST_PIXELS / 1e6:.0f} Mpx")
        try:
            images.append(load_image(data))
        except BadMedia as error:
            raise archive.bad(f"{name} cannot be read ({error.what})") from error
    return tuple(images)
