"""A Parquet footer: what a trace's tables have passes, whatever else one can say is refused."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gemma_lab.trace.storage.parquet_footer import check_footer

COLUMNS = ["number", "text", "flag"]
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
def test_plain_tables_pass(rows, group):
    check_footer(written(rows, row_group_size=group), columns=COLUMNS, rows=rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"compression": "snappy"}, "'number' is compressed"),
        ({"compression": {"text": "gzip"}}, "'text' is compressed"),
        ({"write_statistics": True}, "field 12"),
        ({"store_schema": True}, "field 5"),
        ({"write_page_index": True}, "column has a field"),
    ],
)
def test_what_a_trace_does_not_write_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        check_footer(written(**options), columns=COLUMNS, rows=10)


def test_other_columns_and_rows_are_refused():
    data = written()
    with pytest.raises(ValueError, match="no column 'more'"):
        check_footer(data, columns=[*COLUMNS, "more"], rows=10)
    with pytest.raises(ValueError, match="other columns"):
        check_footer(data, columns=COLUMNS[:2], rows=10)
    with pytest.raises(ValueError, match="10 rows, not 11"):
        check_footer(data, columns=COLUMNS, rows=11)


def test_nested_and_empty_cells_are_refused():
    for column in (pa.array([[1], [2, 3]]), pa.array([1, None], pa.int32())):
        sink = io.BytesIO()
        pq.write_table(pa.table({"a": column}), sink, **PLAIN | {"use_dictionary": False})
        with pytest.raises(ValueError, match=r"other columns|empty or repeated"):
            check_footer(sink.getvalue(), columns=["a"], rows=2)


@pytest.mark.parametrize(
    "data", [b"", b"PAR1", b"PAR1" + bytes(20) + b"PAR1", b"PAR1" + b"\xff" * 8 + b"PAR1"]
)
def test_what_is_no_parquet_is_refused(data):
    with pytest.raises(ValueError, match=r"it is no Parquet|its footer"):
        check_footer(data, columns=[], rows=0)


def test_depth_and_counts_are_bounded():
    for footer in (b"\x1c" * 5000, b"\x19\xfc\xff\xff\xff\xff\x7f", b"\x15" + b"\xff" * 50):
        data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
        with pytest.raises(ValueError, match="footer"):
            check_footer(data, columns=COLUMNS, rows=10)


def test_a_changed_footer_passes_or_raises_nothing_else():
    data, places, refusals = written(), random.Random(0), 0
    size = int.from_bytes(data[-8:-4], "little")
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(places.choice((1, 1, 3))):
            changed[len(data) - 8 - size + places.randrange(size + 8)] = places.randrange(256)
        try:
            check_footer(bytes(changed), columns=COLUMNS, rows=10)
        except ValueError:
            refusals += 1
    assert refusals > 1500
