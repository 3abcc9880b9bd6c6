"""The check of an adapter as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..base.html import Markup, bdi, definitions, group, join, table, tag

if TYPE_CHECKING:
    from ...models.fine_tuning.change_check import AdapterCheck


def adapter_check_html(check: AdapterCheck) -> Markup:
    """Return whether an adapter changes its model, and how far its forms differ."""
    if check.without_gradient is None:
        gradients = "not known: the adapter was loaded"
    else:
        reached = check.tensors - len(check.without_gradient)
        gradients = f"{reached:,} of {check.tensors:,} tensors had one"
    facts = definitions(
        [
            ("gradient in training", gradients),
            ("KL to the base", f"{check.kl:.3g} nats per answer token"),
            ("same likeliest token", f"{check.top1:.1%} of answer tokens"),
        ],
        caption=join(["Check of ", bdi(check.name), ": ", "passed" if check.passed else "problems"]),
    )
    rows: list[tuple[object, object, object]] = [("base model", f"{check.change:.3g}", "")]
    for form, difference in check.differences.items():
        rows.append((form, f"{difference:.2g}", "equal" if difference <= check.tolerance else "differs"))
    rows += [(form, "", f"not compared: {why}") for form, why in check.not_compared.items()]
    forms = table(
        rows,
        columns=("form", "largest difference", ""),
        caption="Logits compared with the attached adapter",
        align="lrl",
        notes=[f"Equal: at most {check.tolerance:.2g}.", *check.problems],
    )
    return group(f"Check of the adapter {check.name}", facts, tag("div", forms))
