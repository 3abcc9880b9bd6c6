"""What every pytest run shares: the notebooks' environment, and the outputs that are not compared."""

from __future__ import annotations

import os

from gemma_lab.notebooks.execute import QUIET, STATIC


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
