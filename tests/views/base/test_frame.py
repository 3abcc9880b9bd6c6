"""A result without a view of its own is shown as the first rows of its frame, as text."""

from __future__ import annotations

import pandas as pd

from gemma_lab.views.base.frame import frame_html


class Result:
    def __repr__(self):
        return "Result(<b>)"

    def to_pandas(self):
        names = ["<script>", *"abcdefghijk"]
        return pd.DataFrame({"name": names, "mean_value": range(12), "ok": [True] * 12})


def test_rows_are_escaped_formatted_and_counted():
    html = frame_html(Result())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "Result(&lt;b&gt;)" in html
    assert html.count("<tr") == 11
    assert "2 more rows" in html
    assert ">mean value<" in html
    assert ">True<" in html
