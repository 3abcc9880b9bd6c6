"""Other ablations in every row of a batch, against one edited pass per row."""

from __future__ import annotations

import pytest
import torch
from support.moe import NEIGHBOURS, hooks, tiny

from gemma_lab.errors import BadEdit
from gemma_lab.models.loading.restore import RestoreStack
from gemma_lab.trace.interventions.apply import EditContext
from gemma_lab.trace.interventions.edit import Edit
from gemma_lab.trace.interventions.row_ablation import hook_rows
from gemma_lab.trace.probes.routers import routers

IDS = torch.tensor([[5, 17, 3, 44, 9, 30, 2]])
#: One set per row; the last one ablates nothing in layer 1.
ROWS = [{1: [0, 3]}, {0: [2], 1: [5]}, {2: [1]}]
ACTIVE = [
    Edit(),
    Edit(force_experts={1: [4]}),
    Edit(force_experts=[4]),
    Edit(force_experts={1: [4], 0: [3]}, boost_experts={1: {1: -200.0, 2: 1.5}}),
    Edit(force_experts={1: [4]}, ablate_experts={1: [1], 2: [0]}),
    Edit(ablate_experts={1: [1, 2]}, boost_experts={1: {4: -300.0, 5: -300.0}}),
]


def run(model, rows: int = 1) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Return logits, and what each router chose and weighed, ``[rows, tokens, …]``."""
    chosen = []
    with torch.no_grad(), RestoreStack() as restore:
        for router in routers(model):

            def note(_module, _args, output, router=router):
                found = router.read(output)
                shape = (rows, IDS.shape[1], -1)
                chosen.append((found.ids.view(shape), found.weights.view(shape)))

            restore.hook(router.module, note)
        return model(input_ids=IDS.expand(rows, -1)).logits, chosen


@pytest.mark.parametrize("active", ACTIVE, ids=repr)
@pytest.mark.parametrize("family", NEIGHBOURS)
def test_each_row_is_what_its_edit_gives_with_the_active_one(family, active):
    model = tiny(family)
    with EditContext(model, active), RestoreStack() as restore:
        hook_rows(model, restore, experts=ROWS)
        found, chosen = run(model, len(ROWS))
    for row, ablated in enumerate(ROWS):
        merged = active | Edit(ablate_experts=ablated)
        with EditContext(model, merged):
            expected, wanted = run(model)
        torch.testing.assert_close(found[row], expected[0], atol=2e-5, rtol=1e-4)
        for layer, ((ids, weights), (of_edit, weighed)) in enumerate(zip(chosen, wanted, strict=True)):
            assert torch.equal(ids[row], of_edit[0])
            torch.testing.assert_close(weights[row], weighed[0], atol=2e-5, rtol=1e-4)
            for expert in merged.at(layer).force:
                assert (ids[row] == expert).any(-1).all()
            assert not torch.isin(ids[row], torch.tensor(merged.at(layer).ablate, dtype=ids.dtype)).any()
    assert not hooks(model)


def test_a_row_cannot_ablate_what_the_active_edit_forces():
    model = tiny("mixtral")
    with (
        EditContext(model, Edit(force_experts={1: [3]})),
        RestoreStack() as restore,
        pytest.raises(BadEdit, match=r"Expert 3 of layer 1 is forced"),
    ):
        hook_rows(model, restore, experts=ROWS)
    assert not hooks(model)
