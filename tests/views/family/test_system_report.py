from __future__ import annotations

from dataclasses import replace

from gemma_lab.system.hardware import Device
from gemma_lab.system.report import doctor
from gemma_lab.views.family.system_report import report_html, report_text

_HOSTILE = "<img src=x onerror=alert(1)>"


def _report(**changes):
    gpu = Device("cuda:0", _HOSTILE, bfloat16=True, total=16 * 2**30, free=15 * 2**30)
    return replace(doctor("26b-a4b-it"), devices=(gpu,), **changes)


def test_text_has_a_line_a_fact_and_a_row_a_model():
    lines = report_text(_report(advice=("do this",))).splitlines()
    assert any(line.startswith("cuda:0") and "15.0 GiB of 16.0 GiB free, bfloat16" in line for line in lines)
    assert any(line.startswith("26b-a4b-it") for line in lines)
    assert lines[-1] == "! do this"


def test_html_is_escaped_and_script_free():
    page = report_html(_report(advice=(_HOSTILE,)))
    assert "<img" not in page
    assert page.count("&lt;img") == 2
    assert "<script" not in page
    assert "26b-a4b-it" in page
