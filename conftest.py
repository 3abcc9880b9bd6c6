"""Configuration of every pytest run: environment and limits of notebooks, outputs that are not compared."""

from __future__ import annotations

import json
import os
import re
from importlib.metadata import version

import pytest
from packaging.version import Version

from gemma_lab.system.process_meter import ProcessMeter
from tools.notebooks.execute import QUIET, STATIC

#: Binder stops a kernel at 2 GB, and JupyterLab takes its share: bytes, the kernel and its children.
MAX_BYTES = 1.5e9
#: Seconds of processor time, summed over cores: about 90 seconds for a reader with two cores to itself.
MAX_PROCESSOR_SECONDS = 180

#: How a notebook's first cell names the release that it needs, under **Needs**.
NEEDS = re.compile(r"need transformers (\d+\.\d+) or newer")

_meters = {}
_usage = []


def pytest_configure(config):
    """Keep all tests offline and quiet; run the notebooks in the mode that they are committed in."""
    os.environ.update(QUIET)
    if config.getoption("nbval", default=False) or config.getoption("nbval_lax", default=False):
        os.environ.update(STATIC)


def pytest_collectstart(collector):
    """Leave out of nbval's comparison what no machine reproduces to the byte."""
    if hasattr(collector, "skip_compare"):
        # An SVG carries a date; a figure's numbers are printed beside it and compared there.
        collector.skip_compare += ("image/svg+xml", "application/vnd.plotly.v1+json")


def pytest_collection_modifyitems(items):
    """Skip a notebook that says that it needs a newer release of transformers than is installed."""
    notebooks = {item.parent for item in items if hasattr(item.parent, "skip_compare")}
    for notebook in notebooks:
        first = json.loads(notebook.path.read_text("utf-8"))["cells"][0]["source"]
        needed = NEEDS.search("".join(first))
        if needed and Version(version("transformers")) < Version(needed[1]):
            reason = f"{notebook.path.name} needs transformers {needed[1]}"
            for item in items:
                if item.parent is notebook:
                    item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Begin to measure a notebook's kernel before its first cell."""
    result = yield
    notebook = item.parent
    if hasattr(notebook, "skip_compare") and notebook not in _meters:
        _meters[notebook] = ProcessMeter()
        _meters[notebook].start(notebook.kernel.km.provisioner.pid)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Check after a notebook's last cell that it stayed within its memory and processor time."""
    notebook = item.parent
    if notebook not in _meters or (nextitem is not None and nextitem.parent is notebook):
        return (yield)
    usage = _meters.pop(notebook).stop()
    result = yield
    peak, seconds = usage.peak_bytes / 1e9, usage.processor_seconds
    used = f"{notebook.name}: peak {peak:.2f} GB, {seconds:.0f} s of processor time"
    item.user_properties.append(("usage", used))
    assert 0 < usage.peak_bytes < MAX_BYTES, f"{used}; at most {MAX_BYTES / 1e9:.1f} GB"
    assert usage.processor_seconds < MAX_PROCESSOR_SECONDS, f"{used}; at most {MAX_PROCESSOR_SECONDS} s"
    return result


def pytest_runtest_logreport(report):
    """Collect what notebooks used, also from worker processes."""
    if report.when == "teardown":
        _usage.extend(text for name, text in report.user_properties if name == "usage")


def pytest_terminal_summary(terminalreporter):
    """Print what each notebook used."""
    for line in _usage:
        terminalreporter.write_line(line)
