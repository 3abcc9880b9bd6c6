"""The footer of a Parquet file: uncompressed tables pass, compressed and damaged ones are refused."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gemma_lab.trace.storage.parquet_footer import check_uncompressed

PLAIN = {"compression": "none", "store_schema": False, "write_statistics": False, "use_dictionary": ["text"]}


def written(rows=10, **options):
    table = pa.table(
        {
            "number": pa.array(range(rows), pa.int32()),
            "text": pa.array([f"t{row % 3}" for row in range(rows)]),
            "flag": pa.array([row % 2 == 0 for row in range(rows)]),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, **PLAIN | options)
    return sink.getvalue()


@pytest.mark.parametrize("rows", [0, 1, 10, 5000])
@pytest.mark.parametrize("group", [None, 7, 100_000])
def test_uncompressed_tables_pass(rows, group):
    check_uncompressed(written(rows, row_group_size=group), rows=rows)


@pytest.mark.parametrize("options", [{"write_statistics": True}, {"write_page_index": True}])
def test_fields_that_are_not_needed_are_skipped(options):
    check_uncompressed(written(**options), rows=10)


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "brotli", "lz4"])
def test_any_compressed_column_is_refused(codec):
    for compression in (codec, {"text": codec}):
        with pytest.raises(ValueError, match="compressed"):
            check_uncompressed(written(compression=compression), rows=10)


def test_key_value_metadata_and_other_rows_are_refused():
    with pytest.raises(ValueError, match="key-value"):
        check_uncompressed(written(store_schema=True), rows=10)
    with pytest.raises(ValueError, match="10 rows, not 11"):
        check_uncompressed(written(), rows=11)


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" + bytes(20) + b"PAR1", b"PAR1" + b"\xff" * 8 + b"PAR1"]
)
def test_what_is_no_parquet_is_refused(data):
    with pytest.raises(ValueError, match=r"not a Parquet|its footer"):
        check_uncompressed(data, rows=0)


def test_depth_and_counts_are_bounded():
    for footer in (b"\x1c" * 5000, b"\x19\xfc\xff\xff\xff\xff\x7f", b"\x15" + b"\xff" * 50):
        data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
        with pytest.raises(ValueError, match="footer"):
            check_uncompressed(data, rows=10)


def test_a_changed_footer_passes_or_raises_nothing_else():
    data, places, refusals = written(), random.Random(0), 0
    size = int.from_bytes(data[-8:-4], "little")
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(places.choice((1, 1, 3))):
            changed[len(data) - 8 - size + places.randrange(size + 8)] = places.randrange(256)
        try:
            check_uncompressed(bytes(changed), rows=10)
        except ValueError:
            refusals += 1
    assert refusals > 1000
