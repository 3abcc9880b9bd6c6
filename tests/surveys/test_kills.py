"""Killed at any step of its work on the disk, a survey goes on and has the files of an undisturbed one."""

from __future__ import annotations

import hashlib
import os
import signal
import sys

import numpy as np
import pytest

import gemma_lab as gl

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
PROMPTS = [{"prompt": f"{n} and {n * n}", "kind": str(n % 3)} for n in range(11)]
#: More than the steps of one run: with the last ones it ends undisturbed.
STEPS = 60


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("part-*/*"))
    }


def killed(step, folder, run) -> bool:
    """Run in a child that is killed at the n-th file of the folder it opens, makes, renames or removes."""
    child = os.fork()
    if not child:
        import torch

        torch.set_num_threads(1)  # a child has none of its parent's threads
        seen = [0]

        def hook(_event, arguments):
            if any(isinstance(one, str | os.PathLike) and str(folder) in str(one) for one in arguments):
                seen[0] += 1
                if seen[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            run()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_an_undisturbed_one(tiny_lab, tmp_path, seed):
    lab = tiny_lab("26B-A4B")
    options = {"partition_size": 2, "max_new_tokens": 2, "attention": True, "progress": False}
    whole = gl.survey(PROMPTS, lab, out=tmp_path / "whole", **options)
    folder, random, kills = tmp_path / "killed", np.random.default_rng(seed), 0
    for step in random.integers(1, STEPS, 6):
        kills += killed(int(step), folder, lambda: gl.survey(PROMPTS, lab, out=folder, **options))
        if (folder / "survey.json").is_file():
            assert set(contents(folder).items()) <= set(contents(whole.folder).items())
    done = gl.survey(PROMPTS, lab, out=folder, **options)
    assert kills
    assert done.complete
    assert contents(folder) == contents(whole.folder)
    assert done.prompts().equals(whole.prompts())
    assert not list(folder.glob(".draft*"))
