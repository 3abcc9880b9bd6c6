"""Processes that train together: real ones, whose gradients add up to those of one process."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial

import pytest
import torch

from gemma_lab.errors import LabError
from gemma_lab.minis.encoding import Row
from gemma_lab.minis.training import Trainer
from gemma_lab.minis.workers import Workers, started

_TWO = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")


def _rows(*lengths):
    return [Row("names", [0] * length, [0] * length) for length in lengths]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_is_in_one_share_and_shares_are_about_equally_long(count):
    rows = _rows(*range(20, 320, 17))
    shares = [Workers(rank, count).share(rows) for rank in range(count)]
    assert sorted(id(row) for share in shares for row in share) == sorted(map(id, rows))
    lengths = [sum(len(row.ids) for row in share) for share in shares]
    assert max(lengths) - min(lengths) <= max(len(row.ids) for row in rows)
    assert max(len(share) for share in shares) - min(len(share) for share in shares) <= 1


def test_one_process_keeps_its_values():
    alone, weight = Workers(), torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    alone.add_up([weight])
    assert weight.grad.tolist() == [1, 2]
    assert alone.sum({"a": 2.0}) == {"a": 2.0}
    assert alone.mean({"a": 2.0}, ("a", "b")) == {"a": 2.0}
    assert alone.most(3.0) == 3.0


@pytest.mark.parametrize("count", [0, -1, 10_000])
def test_a_number_of_workers_that_the_machine_has_no_cores_for_is_refused(count):
    with pytest.raises(LabError, match=f"{count} workers"), started(count, print):
        pass


def _exchanged(place):
    """Return what a process has after an exchange; the other one is asked by the same function."""
    some, none = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))
    if place.first:
        some.grad = torch.tensor([1.0, 2.0])
    place.add_up([some, none], scale=0.5)
    copied = torch.full((2,), float(place.rank))
    place.copy_from_first([copied])
    known = {"both": 1.0 + place.rank} | ({"one": 5.0} if place.first else {})
    return {
        "some": some.grad.tolist(), "none": none.grad, "copied": copied.tolist(),
        "sum": place.sum({"x": 1.0 + place.rank}), "mean": place.mean(known, ("both", "one", "no")),
        "most": place.most(float(place.rank)),
    }  # fmt: skip


def _exchange(folder, place):
    torch.save(_exchanged(place), folder / "other.pt")


@_TWO
def test_two_processes_have_the_same_sums_and_leave_nothing_behind(tmp_path):
    threads = torch.get_num_threads()
    with started(2, partial(_exchange, tmp_path)) as place:
        mine = _exchanged(place)
    assert mine == torch.load(tmp_path / "other.pt")
    assert mine == {
        "some": [0.5, 1.0], "none": None, "copied": [0.0, 0.0], "sum": {"x": 3.0},
        "mean": {"both": 1.5, "one": 5.0}, "most": 1.0,
    }  # fmt: skip
    assert not multiprocessing.active_children()
    assert torch.get_num_threads() == threads
    assert not torch.distributed.is_initialized()


def _draw(rows, place):
    place.require_same(rows)
    place.require_same(_rows(8, 9) if place.first else _rows(8, 10))


@_TWO
def test_workers_that_drew_different_rows_stop():
    same = _rows(5, 6)
    Workers().require_same(same)
    with pytest.raises(LabError, match="drew different rows"), started(2, partial(_draw, same)) as place:
        _draw(same, place)
    assert not multiprocessing.active_children()


def _leave(place):
    raise SystemExit(3)


@_TWO
def test_a_worker_that_ends_is_said():
    with pytest.raises(LabError, match="A worker of the training has ended"), started(2, _leave) as place:
        place.sum({"x": 1.0})
    assert not multiprocessing.active_children()


@_TWO
def test_an_interrupt_ends_the_others():
    with pytest.raises(KeyboardInterrupt), started(2, partial(_wait_for, None)):
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()


def _wait_for(_, place):
    place.sum({"x": 1.0})


_SKILLS = ("names", "recall")


def _practised(folder, place):
    """Return the losses and the gradients of one step of everything."""
    trainer = Trainer(folder, minutes=1, skills=_SKILLS)
    trainer.join(place)
    losses = trainer._practise()
    place.add_up(trainer.model.parameters())
    grads = [weight.grad.flatten() for weight in trainer.model.parameters() if weight.grad is not None]
    return losses, torch.cat(grads), len(grads)


def _practise(folder, place):
    _practised(folder, place)


@_TWO
def test_gradients_of_two_workers_add_up_to_those_of_one(tmp_path):
    losses, grads, count = _practised(tmp_path, Workers())
    with started(2, partial(_practise, tmp_path)) as place:
        shared, added, same = _practised(tmp_path, place)
    assert (shared.keys(), same) == (losses.keys(), count)
    assert shared == pytest.approx(losses, rel=1e-4)
    # what is not a loss of answers (the balance of experts) is a mean over each share
    assert torch.cosine_similarity(grads, added, dim=0) > 0.999
    assert float(added.norm() / grads.norm()) == pytest.approx(1, abs=0.01)


def _train(folder, place):
    trainer = Trainer(folder, minutes=1, skills=("names", "motion"))
    trainer.join(place)
    for _ in range(2):
        trainer._step()
    came = trainer.model.state_dict(), trainer.curriculum.alone, str(trainer.batcher.rng.getstate())
    if not place.first:
        torch.save(came, folder / "other.pt")
    return came


@_TWO
def test_two_workers_have_the_same_weights_and_draw_the_same_rows_next(tmp_path):
    Trainer(tmp_path, minutes=1, skills=("names", "motion"))  # writes the tokenizer
    with started(2, partial(_train, tmp_path)) as place:
        weights, alone, drawn = _train(tmp_path, place)
    others, same, drawn_there = torch.load(tmp_path / "other.pt")
    assert alone["watched"] != 1.0  # clips were practised
    assert (same, drawn_there) == (alone, drawn)
    assert all(torch.equal(others[name], value) for name, value in weights.items())
