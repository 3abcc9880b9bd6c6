"""The matrix of versions: record a run of the tests, and write the table of what was run.

``python -m tools.matrix record unit colab report.xml`` appends a row to docs/matrix.jsonl, the sum of several
reports; ``python -m tools.matrix`` writes docs/matrix.md.
"""

from __future__ import annotations

import datetime as dt
import json
import platform
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROWS, TABLE = Path("docs/matrix.jsonl"), Path("docs/matrix.md")
PACKAGES = ("torch", "transformers", "numpy", "ipywidgets", "anywidget", "pyarrow")
HEAD = """\
# Versions

Which combinations of Python and libraries the tests were run with, and when. `make matrix` runs what installs
on the machine; the sets of versions are `tests/matrix/*.txt`. A combination that is not listed was not run.
"Skipped" counts tests that say why they do not apply, for example to an older release of transformers. For
notebooks a test is a cell; with the newest versions its output is compared, too.

"""


def record(what: str, versions: str, reports: Sequence[Path]) -> dict[str, Any]:
    """Append the counts of JUnit reports, with this interpreter's versions of libraries; return the row."""
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for report in reports:
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - pytest wrote it
            for name in counts:
                counts[name] += int(suite.get(name, 0))
    row = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "run": what,
        "versions": versions,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: _version(name) for name in PACKAGES},
        **counts,
    }
    with ROWS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Return the page: the last run of every combination, newest Python first."""
    last = {(row["run"], row["versions"], row["python"].rpartition(".")[0]): row for row in rows}
    columns = ("Python", *PACKAGES, "tests", "passed", "skipped", "failed", "date", "note")
    lines = ["| " + " | ".join(("run", *columns)) + " |", "|" + "---|" * (len(columns) + 1)]
    for key in sorted(last, key=lambda key: (key[0] != "unit", key[1], key[2])):
        row = last[key]
        failed = row["failures"] + row["errors"]
        passed = row["tests"] - failed - row["skipped"]
        cells = [row["run"], row["python"], *(row[name] for name in PACKAGES)]
        cells += [f"{row['tests']:,}", f"{passed:,}", row["skipped"], failed]
        cells += [row["date"], row.get("note", "")]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return HEAD + "\n".join(lines) + "\n"


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "–"


def main(arguments: list[str]) -> None:
    """Record a run, or write the table."""
    if arguments[:1] == ["record"]:
        print(json.dumps(record(arguments[1], arguments[2], [Path(each) for each in arguments[3:]])))
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    TABLE.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
