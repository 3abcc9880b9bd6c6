"""Tables of published figures: benchmarks, sizes beside the counted ones, changes since Gemma 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...family.published import MODELS
from ..base.html import Markup, escape, join, link, table, tag

if TYPE_CHECKING:
    from ...family.changes import Changes
    from ...family.claims import Claim, Claims
    from ...family.published import Benchmark, Published
    from ...family.sources import Source


def published_html(data: Published) -> Markup:
    """Return the benchmarks as a table; the best figure of a row is bold."""
    rows = [
        [f"{row.name} {_arrow(row)}", row.unit, *(_score(row, model) for model in MODELS)] for row in data
    ]
    sources = [join([f"Source of {name}: ", _cited(source)]) for name, source in data.sources]
    return table(
        rows,
        columns=["Benchmark (↑ higher, ↓ lower is better)", "Unit", *MODELS],
        caption="Published benchmarks, instruction-tuned models",
        align="ll" + "r" * len(MODELS),
        notes=[*sources, *data.notes],
    )


def claims_html(claims: Claims) -> Markup:
    """Return published and counted sizes with their differences."""
    rows = [
        [
            claim.size,
            claim.quantity,
            _published(claim),
            _counted(claim),
            _verdict(claim),
            claim.how,
            _cited(claim.source),
        ]
        for claim in claims
    ]
    columns = ["Size", "Published as", "Published", "Counted", "Difference", "How counted", "Source"]
    return table(rows, columns=columns, caption=claims.caption, align="llrrrll")


def changes_html(changes: Changes) -> Markup:
    """Return the changes from Gemma 3 as a table with the sources of both sides."""
    rows = [
        [row.what, row.before, row.after, join([_cited(row.before_source), _cited(row.after_source)], "; ")]
        for row in changes.rows
    ]
    columns = ["What", "Gemma 3 27B", "Gemma 4 31B", "Sources"]
    return table(rows, columns=columns, caption="From Gemma 3 to Gemma 4")


def _arrow(row: Benchmark) -> str:
    return "↑" if row.better == "higher" else "↓"


def _score(row: Benchmark, model: str) -> Markup:
    text = escape(row.shown(model))
    return tag("strong", text) if model == row.best else text


def _published(claim: Claim) -> str:
    return f"{claim.published:,.{claim.digits}f} {claim.unit}"


def _counted(claim: Claim) -> str:
    digits = 0 if claim.unit == "numbers" else 2 if claim.unit == "GiB" else 3
    return f"{claim.counted:,.{digits}f} {claim.unit}"


def _verdict(claim: Claim) -> str:
    return "none" if claim.difference == 0 else f"{claim.percent:+.1f} %"


def _cited(source: Source) -> Markup:
    return link(source.url, source.label)
