"""Running a notebook from start to end in a kernel of this Python, with its memory measured."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_lab.system.memory_meter import Meter

from . import form

if TYPE_CHECKING:
    import nbformat

#: A notebook that takes longer than this on two cores is too slow to be opened by anybody: seconds.
CELL_TIMEOUT = 120
#: What keeps an execution offline and its outputs free of progress bars. The tests use the same.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
#: The mode that committed notebooks are in: every widget gives its static twin.
STATIC = {"GEMMA_LAB_STATIC": "1"}


@dataclass(frozen=True)
class Execution:
    """A notebook that ran to its end.

    Attributes
    ----------
    notebook
        With its outputs; in the committed form if it ran in static mode.
    peak_bytes
        Largest resident memory of the kernel and its children together, bytes.
    seconds
        From the kernel's start to its end.
    """

    notebook: nbformat.NotebookNode
    peak_bytes: int
    seconds: float

    def __repr__(self) -> str:
        return f"Execution({len(self.notebook.cells)} cells, peak {self.peak_bytes / 1e9:.2f} GB)"


def execute(path: Path, *, static: bool = True, timeout: float = CELL_TIMEOUT) -> Execution:
    """Run the notebook at `path` in its own folder. The file is not touched.

    Parameters
    ----------
    path
        The notebook.
    static
        Ask widgets for their static twin and return the committed form. Otherwise widgets are live and their
        state is kept, which only an export wants.
    timeout
        Of one cell, in seconds.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    gemma_lab.errors.LabError
        If the result cannot be committed (see `form.normal`).
    """
    from nbclient import NotebookClient
    from traitlets.config import Config

    notebook = form.read(path)
    for cell in notebook.cells:  # what an earlier execution left is not part of this one
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)

    # No kernel folder: the name then means this Python, whatever kernels the user has installed.
    config = Config({"KernelSpecManager": {"kernel_dirs": []}})
    client: Any = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        store_widget_state=not static,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        config=config,
    )
    meter = Meter()
    client.on_notebook_start = lambda **_: meter.start(client.km.provisioner.pid)
    begin = time.monotonic()
    try:
        client.execute(env=_environment(static=static))
    finally:
        peak = meter.stop()
    seconds = time.monotonic() - begin
    result = form.normal(notebook, name=path.name) if static else notebook
    return Execution(notebook=result, peak_bytes=peak, seconds=seconds)


def _environment(*, static: bool) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if key not in STATIC}
    return {**own, **QUIET, **(STATIC if static else {})}
