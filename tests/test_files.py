"""Files and folders that a caller names: ``~`` is the home folder everywhere, and errors say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import saes
from support.routing_traces import arabic_trace

import gemma_lab as gl
from gemma_lab.errors import LabError
from gemma_lab.files import write_file
from gemma_lab.surveys.survey_folder import as_folder


def _lens():
    return gl.JacobianLens(
        model="tiny", weights={"norms": "a", "matrices": "b"}, layers=(0, 1), corpus="none", texts=1,
        tokens=2, jacobians=np.stack([np.eye(4, dtype=np.float32)] * 2), skip=0, max_tokens=8,
        date="2026-01-01",
    )  # fmt: skip


WRITES = {
    "trace.save": lambda path: arabic_trace().save(path),
    "trace.to_parquet": lambda path: arabic_trace().to_parquet(path)[0].parent,
    "plot.save": lambda path: gl.plots.load_by_layer_figure(arabic_trace()).save(path),
    "edit.save": lambda path: gl.Edit(ablate_experts={0: [1]}).save(path),
    "explorer.to_html": lambda path: gl.RoutingExplorer(arabic_trace()).to_html(path),
    "lens.save": lambda path: _lens().save(path),
    "sae.save": lambda path: saes.topk(8, 1).save(path),
    "survey": as_folder,
}
READS = {
    "open_trace": gl.open_trace,
    "open_causal_map": gl.open_causal_map,
    "open_survey": gl.open_survey,
    "Edit.open": gl.Edit.open,
    "JacobianLens.open": gl.JacobianLens.open,
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_a_tilde_is_the_home_folder_where_something_is_written(write, home):
    assert Path(write("~/made")) == home / "made"
    assert not Path("~").exists()


@pytest.mark.parametrize("path", [None, 5, "", " ", ["a"]])
@pytest.mark.parametrize("verb", [*WRITES.values(), *READS.values()], ids=[*WRITES, *READS])
def test_what_is_no_path_is_refused(verb, path):
    with pytest.raises(LabError, match="not a path"):
        verb(path)


@pytest.mark.parametrize(
    ("name", "write"), [(name, write) for name, write in WRITES.items() if name != "survey"]
)
def test_a_file_in_the_way_of_a_folder_is_said(name, write, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"cannot be (written|made)"):
        write(tmp_path / "file" / "made")


def test_what_was_saved_at_home_is_found_there(home):
    edit, lens = gl.Edit(ablate_experts={0: [1]}), _lens()
    for saved, opened in ((edit, gl.Edit.open), (lens, gl.JacobianLens.open)):
        saved.save("~/kept")
        assert opened("~/kept") == saved
    trace = arabic_trace()
    trace.save("~/a.trace")
    assert gl.open_trace("~/a.trace").tokens.to_arrow() == trace.tokens.to_arrow()


def test_bytes_replace_an_earlier_file_and_a_nul_character_is_refused(tmp_path):
    target = tmp_path / "a"
    for data in (b"long", b"b"):
        assert write_file(target, data, example="") == target
        assert target.read_bytes() == data
    with pytest.raises(LabError, match="cannot be written"):
        write_file("a\0b", b"", example="")
