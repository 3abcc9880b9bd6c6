"""Training of a drafter: it sees what assisted decoding shows; it learns, resumes and is published."""

from __future__ import annotations

import json
import random

import pytest
import torch

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.minis.batches import Batcher
from gemma_lab.minis.continuations import continued
from gemma_lab.minis.drafter_batches import drafts
from gemma_lab.minis.drafter_training import STEPS, DrafterTrainer
from gemma_lab.minis.encoding import SKIP
from gemma_lab.minis.tokenizer import token_id
from gemma_lab.models.drafting.drafter import Drafter


@pytest.fixture
def trainer(tmp_path):
    return DrafterTrainer(tmp_path / "run", minutes=1, seed=3)


def test_what_a_mini_writes_ends_before_media_that_are_not_there(trainer, monkeypatch):
    def written(*, input_ids, **_):
        rows = [[7, 8, token_id("eoi_token"), 9], [7, 8, 9, 10], [token_id("video_token")] * 4]
        return torch.cat([input_ids, torch.tensor(rows)], dim=1)

    monkeypatch.setattr(trainer.base, "generate", written)
    batcher = Batcher(trainer.tokenizer, random.Random(0))
    rows = continued(trainer.base, batcher, skills=("names", "digits"), count=3)
    assert [sum(label != SKIP for label in row.labels) for row in rows] == [2, 4, 0]
    batch = batcher.batch(rows)
    assert len(drafts(trainer.base, batch, steps=STEPS, most=8, rng=random.Random(0)).positions) == 3


def test_training_sees_what_assisted_decoding_shows(trainer):
    """The drafts of one position in training are those of transformers' own generator there."""
    lab = gl.load("mini-moe", device="cpu", dtype="float32")
    lab.model.generation_config.eos_token_id = [1]
    ids = lab.tokenizer("<bos><|turn>user\nWrite 47 in German words.<turn|>\n<|turn>model\n",
                        add_special_tokens=False)["input_ids"]  # fmt: skip
    lab.drafter = Drafter(model=trainer.model.eval(), name="d", tokens=STEPS)
    seen = []
    head = trainer.model.lm_head.register_forward_hook(lambda _m, _i, out: seen.append(out[0, -1].detach()))
    try:
        # 1 token by the model, then a pass that verifies the drafts after it
        reply = lab.complete(ids, temperature=0, max_new_tokens=STEPS + 2)
    finally:
        head.remove()
    first = [logits.argmax().item() for logits in seen[:STEPS]]
    row = [*ids, reply.tokens[0].id, *first]
    batcher = Batcher(trainer.tokenizer, random.Random(0))
    from gemma_lab.minis.encoding import Row

    batch = batcher.batch([Row("numbers", row, [SKIP] * len(ids) + row[len(ids) :])])
    given = drafts(trainer.base, batch, steps=STEPS, most=1000, rng=random.Random(0))
    place = given.positions[0].tolist().index(len(ids))
    with torch.no_grad():
        for step, logits, _ in trainer._unrolled(given):
            mine = logits[given.valid[step - 1][0].nonzero().flatten().tolist().index(place)]
            torch.testing.assert_close(mine, seen[step - 1], atol=2e-4, rtol=1e-4)


def test_positions_are_before_answers_and_drafts_end_with_them(trainer):
    given = trainer._drafts(random.Random(1))
    labels = given.batch.labels
    for row in range(len(labels)):
        for column, place in enumerate(given.positions[row].tolist()):
            for step in range(STEPS):
                if given.valid[step, row, column]:
                    assert (labels[row, place + 1 : place + 2 + step] != SKIP).all()
    masks = given.masks(5)
    place = given.positions[0, 0].item()
    assert masks["full_attention"][0, 0, 0].nonzero().flatten().tolist() == list(range(place))
    assert masks["sliding_attention"][0, 0, 0].nonzero().flatten().tolist() == list(range(place))[-5:]


def test_it_learns_and_resumes_where_it_stopped(trainer, tmp_path):
    before = trainer.agreement(batches=1)
    for _ in range(8):
        trainer._step()
    trainer._save()
    again = DrafterTrainer(tmp_path / "run", minutes=1, seed=99)
    assert (again.step, again.seed) == (8, 3)
    for mine, its in zip(trainer.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(mine, its)
    assert trainer._step() == pytest.approx(again._step(), rel=1e-4)
    assert sum(trainer.agreement(batches=1)) > sum(before)


def test_a_run_for_other_weights_is_refused(trainer, tmp_path):
    trainer.digest = "0" * 64
    trainer._save()
    with pytest.raises(LabError, match="0000"):
        DrafterTrainer(tmp_path / "run", minutes=1)


def test_what_is_published_can_be_loaded(trainer, tmp_path):
    trainer.publish(tmp_path / "out")
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["drafts_for"] == {"name": "mini-moe", "weights_sha256": trainer.digest}
    lab = gl.load("mini-moe", drafter=tmp_path / "out")
    assert lab.drafter.parameters == card["parameters"]
    assert lab.drafter.tokens == 4


def test_the_shipped_drafter_names_the_shipped_mini(trainer):
    card = json.loads((gl.data_path("minis/mini-moe-assistant") / "card.json").read_text())
    assert card["drafts_for"]["weights_sha256"] == trainer.digest
    assert card["held_out_agreement"][0] > 0.3
