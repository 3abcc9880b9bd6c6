"""What every pytest run shares: the notebooks' environment and limits, and what outputs are not compared."""

from __future__ import annotations

import os
import time

import pytest

from gemma_lab.system.memory_meter import Meter
from tools.notebooks.execute import QUIET, STATIC

#: Binder kills a kernel at 2 GB, and JupyterLab takes its share: bytes, kernel and children.
PEAK = 1.5e9
#: A reader's patience, on two cores: seconds.
LONGEST = 90

_running = {}
_ran = []


def pytest_configure(config):
    """Keep all tests offline and quiet; the notebooks run in the mode that they are committed in."""
    os.environ.update(QUIET)
    if config.getoption("nbval", default=False) or config.getoption("nbval_lax", default=False):
        os.environ.update(STATIC)


def pytest_collectstart(collector):
    """Leave alone, in nbval's comparison, what no machine reproduces to the byte."""
    if hasattr(collector, "skip_compare"):
        # An SVG carries a date; a figure's numbers are printed beside it and compared there.
        collector.skip_compare += ("image/svg+xml", "application/vnd.plotly.v1+json")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Before a notebook's first cell, when its kernel is there: begin to measure."""
    result = yield
    notebook = item.parent
    if hasattr(notebook, "skip_compare") and notebook not in _running:
        _running[notebook] = meter, _ = Meter(), time.monotonic()
        meter.start(notebook.kernel.km.provisioner.pid)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """After a notebook's last cell: it stayed within Binder's memory and a reader's patience."""
    notebook = item.parent
    if notebook not in _running or (nextitem is not None and nextitem.parent is notebook):
        return (yield)
    meter, begin = _running.pop(notebook)
    peak, seconds = meter.stop(), time.monotonic() - begin
    result = yield
    _ran.append(f"{notebook.name}: peak {peak / 1e9:.2f} GB, {seconds:.0f} s")
    assert 0 < peak < PEAK, f"{_ran[-1]}; at most {PEAK / 1e9:.1f} GB"
    assert seconds < LONGEST, f"{_ran[-1]}; at most {LONGEST} s"
    return result


def pytest_terminal_summary(terminalreporter):
    """Say what each notebook took."""
    for line in _ran:
        terminalreporter.write_line(line)
