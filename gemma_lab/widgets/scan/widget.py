"""A scan with its trace: findings, each of which selects the tokens that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from ...checks import type_name
from ...errors import LabError
from ...evals.scan.scan import Scan
from ...views.evals.scan import scan_html, scan_text
from ..explorer.widget import Explorer
from ..shared.base import sendable
from ..shared.bundle import bundle, stylesheet

if TYPE_CHECKING:
    from ...lab import Lab
    from ...trace.trace import Trace


class ScanExplorer(Explorer):
    """A scan of a prompt with its trace: the findings on top, below them the combined explorer.

    Each finding has its number, its null, and a button that selects its tokens in the explorer.

    Parameters
    ----------
    scan
        Returned by ``lab.scan(prompt)``.
    lab
        The model, to scan prompts from the widget.

    Attributes
    ----------
    selected_tokens, feature
        As of `Explorer`.

    Raises
    ------
    LabError
        If it is no scan.

    Examples
    --------
    >>> scan = lab.scan("Ada has the lemon. What does Ada have?")
    >>> gl.ScanExplorer(scan).to_html("scan.html")
    """

    _esm = bundle("scan/scan.js")
    _css = stylesheet(
        "shared/base.css", "shared/tints.css", "shared/view.css", "explorer/explorer.css", "scan/scan.css"
    )
    _program, _noun = "scan/scan_page.js", "Scan"

    #: Findings in the order of the page: title, result, null, tokens, whether it was tested.
    _findings = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, scan: Scan, *, lab: Lab | None = None) -> None:
        if not isinstance(scan, Scan):
            raise LabError(
                f"gl.ScanExplorer takes a scan, not {type_name(scan)}.",
                hint="gl.ScanExplorer(lab.scan(prompt))",
            )
        self._scan = scan
        super().__init__(scan.trace, lab=lab)
        self._findings = _entries(scan)

    @property
    def scan(self) -> Scan:
        """The scan that is shown."""
        return self._scan

    def __repr__(self) -> str:
        return f"ScanExplorer({self._scan!r})"

    def ask(self, prompt: Any, **options: Any) -> Trace:
        """Scan another prompt with the model, show it, and return its trace.

        Parameters
        ----------
        prompt, **options
            As for `Lab.scan`.

        Raises
        ------
        LabError
            If the widget has no model, or it is running for it already.
        """
        lab = self._model()
        with self._running():
            scan = lab.scan(prompt, **{"progress": False} | options)
            self._scan = scan
            with self.hold_sync():
                self._findings = _entries(scan)
                self._show(scan.trace)
        return scan.trace

    def _static_fallback(self) -> tuple[str, str]:
        return scan_html(self._scan), scan_text(self._scan)

    def _page_state(self) -> dict[str, Any]:
        return super()._page_state() | {"_findings": self._findings}


def _entries(scan: Scan) -> list[dict[str, Any]]:
    length = len(scan.trace)
    return [
        {
            "name": one.name,
            "title": one.title,
            "result": sendable(one.result),
            "null": sendable(one.null),
            "tokens": [int(row) for row in one.tokens if 0 <= row < length],
            "tested": one.tested,
        }
        for one in scan.findings
    ]
