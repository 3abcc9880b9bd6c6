"""Files as they are found: broken rows have an error in their row, broken files and calls are refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.surveys.prompts import PromptSource
from gemma_lab.surveys.summary import MAX_VALUES, RoutingSummary
from gemma_lab.trace.records.routing import Routing


def row(**values):
    return json.dumps(values).encode()


#: Lines of a file, and whether each is a prompt that can be traced.
LINES = [
    (row(prompt="first", kind="a", index="7", error="e", reply="r"), True),
    ("\u00a0".encode(), False),
    (b"{broken", False),
    (b"\xff\xfe\x00", False),
    (b"[" * 100_000, False),
    (b"1" * 6_000, False),
    (b"5", False),
    (b"null", False),
    (b'"a text alone"', True),
    (row(prompt=None), False),
    (row(prompt=5), False),
    (row(other="x"), False),
    (b'{"prompt": "nul \\u0000, line \\u2028", "kind": "\\udfff"}', True),
    (row(messages=[{"role": "nobody", "content": "x"}]), False),
    (row(messages=5), False),
    (row(prompt="p", images=["/no/such.png"]), False),
    (row(prompt="p", video="/etc/hostname"), False),
    (row(prompt="p", tools=5), False),
    (row(prompt="p", previous="x"), False),
    (row(prompt="p", max_soft_tokens=10**30), False),
    (row(prompt="twice", kind="a"), True),
    (row(prompt="twice", kind="a"), True),
    (b'{"prompt": "p", "kind": NaN}', True),
    (row(prompt="last", kind="a"), True),
]


@pytest.fixture(scope="module")
def lab(tiny_lab_of_module):
    return tiny_lab_of_module


@pytest.fixture(scope="module")
def tiny_lab_of_module(tiny_lab):
    return tiny_lab("26B-A4B")


@pytest.mark.parametrize("options", [{}, {"batch_size": 3, "attention": True}])
def test_every_line_has_its_row(lab, tmp_path, options):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n  \r\n".join(line for line, _ in LINES))
    done = gl.survey(path, lab, out=tmp_path / "s", partition_size=5, progress=False, **options)
    frame = done.prompts()
    assert list(frame["index"]) == list(range(len(LINES)))
    assert list(frame["error"].isna()) == [good for _, good in LINES]
    assert frame["label_index"][0] == "7"
    assert frame["label_error"][0] == "e"
    assert frame["prompt"].dropna().iloc[-1] == "last"
    tokens = done.dataset("tokens").to_table().to_pandas()
    twice = [tokens[tokens["prompt"] == n]["id"].tolist() for n in (20, 21)]
    assert twice[0] == twice[1] == list(lab.trace("twice").tokens.ids)
    assert done.expert_load("kind", "a").tokens == sum(
        len(lab.trace(p).tokens) for p in ("first", "twice", "twice", "last")
    )


def test_a_place_in_a_long_file_is_found(tmp_path):
    rows = [{"prompt": f"p{n}", "n": n} for n in range(5_000)]
    path = tmp_path / "long.jsonl"
    path.write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    source, listed = PromptSource(path), PromptSource(rows)
    for start in (0, 1023, 1024, 1025, 2047, 4_990):
        assert source.read(start, start + 7) == listed.read(start, start + 7)
    path.write_text(json.dumps(rows[0]), encoding="utf-8")
    with pytest.raises(LabError, match="fewer rows"):
        source.read(4_000, 4_010)


def broken_parquets(folder):
    whole = folder / "whole.parquet"
    pq.write_table(pa.table({"prompt": [f"prompt {n}" for n in range(50)]}), whole)
    data = whole.read_bytes()
    zeroed = data[:20] + bytes(40) + data[60:]
    return {"empty": b"", "half": data[: len(data) // 2], "text": b"prompt\na\n", "zeroed": zeroed}


@pytest.mark.parametrize("name", ["empty", "half", "text", "zeroed"])
def test_a_broken_parquet_file_is_refused(lab, tmp_path, name):
    path = tmp_path / f"{name}.parquet"
    path.write_bytes(broken_parquets(tmp_path)[name])
    with pytest.raises(LabError, match=rf"{name}\.parquet"):
        gl.survey(path, lab, out=tmp_path / "s", progress=False)
    assert not (tmp_path / "s").exists()


def test_tables_are_read_by_row_and_missing_labels_are_missing():
    rows = [{"prompt": "a", "kind": "x", "n": 1}, {"prompt": "b", "kind": None, "n": 2}]
    wanted = [("a", {"kind": "x", "n": "1"}), ("b", {"n": "2"})]
    for source in (rows, pd.DataFrame(rows), pa.Table.from_pylist(rows)):
        read = PromptSource(source).read(0, 2)
        assert [(one.prompt, dict(one.labels)) for one in read] == wanted
    assert [one.prompt for one in PromptSource(pd.Series(["a", "b"])).read(0, 2)] == ["a", "b"]


@pytest.mark.parametrize("name", ["empty.jsonl", "blank.jsonl", "folder.jsonl", "text.txt"])
def test_files_without_prompts_are_refused(tmp_path, name):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "blank.jsonl").write_text("\n \n")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "text.txt").write_text("a")
    with pytest.raises(LabError):
        PromptSource(tmp_path / name)


@pytest.mark.parametrize(
    "option",
    [
        {"max_new_tokens": -1}, {"max_new_tokens": "x"}, {"temperature": "hot"}, {"attention": "yes"},
        {"logit_lens": "yes"}, {"images": [1]}, {"keep_tokens": "no"}, {"load": 5}, {"seed": "x"},
        {"workers": 0}, {"batch_size": 0}, {"partition_size": True}, {"engine": "spark"}, {"out": None},
        {"out": __file__}, {"model": 5}, {"model": "no-such-model"},
    ],
)  # fmt: skip
def test_a_call_that_no_prompt_survives_is_refused_before_anything_is_written(lab, tmp_path, option):
    settings = {"model": lab, "out": tmp_path / "s", "progress": False} | option
    with pytest.raises(LabError):
        gl.survey(["a", "b"], settings.pop("model"), **settings)
    assert not (tmp_path / "s").exists()


def test_a_survey_without_a_partition_can_be_begun_again(lab, tmp_path):
    with pytest.raises(TypeError, match="nonsense"):
        gl.survey(["a"], lab, out=tmp_path / "s", progress=False, nonsense=1)
    (tmp_path / "s").mkdir(exist_ok=True)
    (tmp_path / "s" / "survey.json").write_text('{"version": 1}')
    assert gl.survey(["a"], lab, out=tmp_path / "s", progress=False).complete


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"version": 1}', '{"version": "x"}', "[" * 100_000,
             '{"version": 1, "model": 5, "prompts": 3, "partition_size": 2}',
             '{"version": 1, "model": "m", "prompts": "3", "partition_size": 0}'],
)  # fmt: skip
def test_a_damaged_manifest_is_said_to_be(tmp_path, text):
    (tmp_path / "survey.json").write_text(text)
    with pytest.raises(LabError):
        gl.open_survey(tmp_path)


def made_routing(seed: int) -> Routing:
    random = np.random.default_rng(seed)
    ids = np.stack([[random.permutation(8)[:2] for _ in range(3)] for _ in range(2)]).astype(np.uint8)
    return Routing(
        ids=ids, stored_gate_weights=np.full(ids.shape, 32_768, np.uint16),
        entropy=np.ones((2, 3), np.float16),
        expert_output_fraction=np.ones((2, 3), np.float16), scale=np.ones((2, 8), np.float32), layers=(0, 1),
        experts=8, precision="compact",
    )  # fmt: skip


def test_a_label_with_a_value_per_prompt_takes_no_memory():
    """In any grouping of the prompts it is left out, and other labels are not."""
    count, generated = MAX_VALUES + 200, np.zeros(3, bool)
    whole = RoutingSummary((0, 1), 8, 2)
    parts = [RoutingSummary((0, 1), 8, 2) for _ in range(3)]
    for number in range(count):
        labels = {"id": str(number), "kind": str(number % 2)}
        for summary in (whole, parts[number * 3 // count]):
            summary.add(made_routing(number), labels, generated)
    total = RoutingSummary((0, 1), 8, 2)
    for part in parts:
        assert {column for column, _ in part.by_label} == {"id", "kind"}
        total.merge(part)
    for summary in (whole, total):
        assert summary.uncounted == {"id"}
        assert set(summary.by_label) == {("kind", "0"), ("kind", "1")}
        np.testing.assert_array_equal(
            summary.by_label["kind", "0"][1] + summary.by_label["kind", "1"][1], whole.counts
        )
