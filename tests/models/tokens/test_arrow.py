"""The columns of a token table: checked before anything is made of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support import shapes

from gemma_lab.errors import BadTrace
from gemma_lab.models.tokens.arrow import strings
from gemma_lab.models.tokens.table import TokenTable


@pytest.fixture(scope="module")
def arrow():
    tokenizer = shapes.tiny_tokenizer()
    return TokenTable.build(tokenizer("<|turn>user\nHé")["input_ids"], tokenizer=tokenizer).to_arrow()


def swapped(arrow, name, values):
    place = arrow.column_names.index(name)
    return arrow.set_column(place, name, pa.array(values, type=arrow.schema.field(name).type))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop_columns("role"), "no column 'role'"),
        (lambda t: t.set_column(0, "id", t["id"].cast("int64")), "'id' of the token table is int64"),
        (lambda t: swapped(t, "role", ["wizard"] * len(t)), "'wizard'"),
        (lambda t: swapped(t, "modality", ["smell"] * len(t)), "'smell'"),
        (lambda t: swapped(t, "text", ["x"] * len(t)), "not the spans"),
        (lambda t: swapped(t, "end", [None] * len(t)), "empty cells"),
    ],
)
def test_a_spoiled_table_is_refused(arrow, spoil, message):
    with pytest.raises(BadTrace, match=message):
        TokenTable.from_arrow(spoil(arrow))


def test_texts_of_one_length_stay_texts():
    column = strings(["ab", "cd"])
    assert column.dtype == object
    assert column.tolist() == ["ab", "cd"]
    assert strings([]).shape == (0,)


def test_numbers_keep_their_width(arrow):
    rows = TokenTable.from_arrow(arrow)
    assert [rows.ids.dtype, rows.frames.dtype, rows.times.dtype] == [np.int32, np.int16, np.int32]
