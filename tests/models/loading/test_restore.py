"""Putting back: in reverse order, completely, whatever interrupts it; locks that know their holder."""

from __future__ import annotations

import signal
import threading

import pytest
import torch

from gemma_lab.models.loading.restore import ModelLock, RestoreStack, hooks_of, restores_model


def test_what_was_changed_is_put_back_in_reverse_order():
    module, order = torch.nn.Linear(2, 2), []
    with RestoreStack() as restore:
        restore.undo(order.append, 1)
        restore.undo(order.append, 2)
        restore.set_attribute(module, "training", False)
        restore.hook(module, lambda *_: None)
        restore.hook(module, lambda *_: None, before=True)
        assert (len(hooks_of(module)), module.training) == (2, False)
    assert (order, hooks_of(module), module.training) == ([2, 1], [], True)


def test_interrupts_are_held_while_putting_back_and_delivered_afterwards():
    done = []
    started = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("undone")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), RestoreStack() as restore:  # noqa: PT012 raised on leaving
        restore.undo(done.append, "last")
        restore.undo(interrupted)
    assert done == ["undone", "last"]
    assert signal.getsignal(signal.SIGINT) == before
    signal.signal(signal.SIGINT, started)


def test_an_action_that_is_interrupted_runs_again():
    attempts = []

    def flaky():
        attempts.append(1)
        if len(attempts) < 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RestoreStack() as restore:
        restore.undo(flaky)
    assert len(attempts) == 3


def test_a_decorated_call_closes_what_it_left_open():
    module = torch.nn.Linear(2, 2)

    @restores_model
    def left_open():
        RestoreStack().__enter__().hook(module, lambda *_: None)
        torch.set_grad_enabled(False)
        return len(hooks_of(module))

    assert left_open() == 1
    assert (hooks_of(module), torch.is_grad_enabled()) == ([], True)


def test_a_lock_is_given_back_by_its_holder_only():
    lock, one, two = ModelLock(), object(), object()
    assert lock.take(one)
    assert not lock.take(two, until=lambda: True)
    lock.drop(two)
    assert lock.locked()
    lock.drop(one)
    lock.drop(one)
    assert not lock.locked()
    with RestoreStack() as restore:
        restore.hold(lock)
        other = []
        thread = threading.Thread(
            target=lambda: other.append((lock.acquire(timeout=0), lock.held_by_this_thread()))
        )
        thread.start()
        thread.join()
        assert (other, lock.held_by_this_thread()) == ([(False, False)], True)
    assert not lock.locked()
    with pytest.raises(RuntimeError):
        lock.release()
