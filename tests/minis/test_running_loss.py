"""Running means start at the first loss and move towards later ones."""

from __future__ import annotations

from gemma_lab.minis.running_loss import record


def test_the_first_loss_is_the_start_and_a_share_of_it_is_kept():
    running = {}
    record(running, "names", 2.0, keep=0.9)
    assert running == {"names": 2.0}
    record(running, "names", 1.0, keep=0.9)
    record(running, 8, 5.0, keep=0.9)
    assert running == {"names": 0.9 * 2.0 + (1 - 0.9) * 1.0, 8: 5.0}
