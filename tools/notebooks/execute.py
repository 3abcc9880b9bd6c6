"""Execute a notebook in a kernel of this Python and measure its memory and processor time."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma_lab.system.process_meter import ProcessMeter, Usage

from . import form

if TYPE_CHECKING:
    import nbformat

#: Elapsed seconds after which a cell counts as hanging. Generous: the limit of a notebook is processor time.
CELL_TIMEOUT = 1800
#: Keeps an execution offline and its outputs free of progress bars. The tests use the same.
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    # One thread, as on Binder: the same sums everywhere, and no spinning beside other processes.
    "OMP_NUM_THREADS": "1",
}
#: The mode that committed notebooks are in: every widget renders its static fallback.
STATIC = {"GEMMA_LAB_STATIC": "1"}


@dataclass(frozen=True)
class Execution:
    """An executed notebook.

    Attributes
    ----------
    notebook
        With its outputs; in the committed form if it ran in static mode.
    usage
        Peak memory and processor time of the kernel and its children.
    """

    notebook: nbformat.NotebookNode
    usage: Usage

    def __repr__(self) -> str:
        return (
            f"Execution({len(self.notebook.cells)} cells, peak {self.usage.peak_bytes / 1e9:.2f} GB, "
            f"{self.usage.processor_seconds:.0f} s of processor time)"
        )


def execute(path: Path, *, static: bool = True, timeout: float = CELL_TIMEOUT) -> Execution:
    """Execute the notebook at `path` in its own folder, without changing the file.

    Parameters
    ----------
    path
        The notebook.
    static
        Render widgets as their static fallback and return the committed form. Otherwise widgets are live and
        their state is kept, for an export.
    timeout
        Elapsed seconds that one cell may take.

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
    for cell in notebook.cells:  # outputs of an earlier execution
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata.pop("widgets", None)

    # No kernel folder: the name then means this Python, not a kernel that the user has installed.
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
    meter = ProcessMeter()
    client.on_notebook_start = lambda **_: meter.start(client.km.provisioner.pid)
    try:
        client.execute(env=_environment(static=static))
    finally:
        usage = meter.stop()
    result = form.normal(notebook, name=path.name) if static else notebook
    return Execution(notebook=result, usage=usage)


def _environment(*, static: bool) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if key not in STATIC}
    return {**own, **QUIET, **(STATIC if static else {})}
