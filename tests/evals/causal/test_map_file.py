"""A causal map that is opened is the one that was saved; whatever else a file holds is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import gemma_lab as gl
from gemma_lab.errors import BadTrace, LabError

CLEAN, CORRUPTED = "The code is 75. ‮<b>Which?", "The code is 31. ‮<b>Which?"


@pytest.fixture(scope="module")
def lab(tiny_lab):
    return tiny_lab("26B-A4B")


@pytest.fixture(scope="module")
def found(lab):
    with lab.edit(ablate_experts={1: [3]}, ablate_heads={0: [1]}):
        return lab.causal_map(
            CLEAN, CORRUPTED, answer="75", parts=["residual", "head", "expert"], spans=[(0, 20), (20, 30)],
            positions=[-1, -3], controls=2, progress=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def saved(found, tmp_path_factory):
    return found.save(tmp_path_factory.mktemp("maps") / "a.map")


def rewritten(path, target, change=None, *, members=None):
    """Write a file again with another manifest or members, their checksums right."""
    with zipfile.ZipFile(path) as opened:
        held = {name: opened.read(name) for name in opened.namelist()}
    held |= members or {}
    manifest = json.loads(held.pop("manifest.json"))
    manifest["members"] = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in held.items()
    }
    if change:
        change(manifest)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (*held.items(), ("manifest.json", json.dumps(manifest).encode())):
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)
    return target


def test_what_is_opened_is_what_was_saved(lab, found, saved, tmp_path):
    opened = gl.open_causal_map(saved)
    assert opened.equal(found)
    assert found.equal(opened)
    assert repr(opened) == repr(found)
    assert (opened.clean, opened.corrupted) == (found.clean, found.corrupted)
    assert opened.active_edit == found.active_edit
    assert opened.to_pandas().equals(found.to_pandas())
    assert opened._repr_html_() == found._repr_html_()
    assert opened.save(tmp_path / "b.map").read_bytes() == saved.read_bytes()
    cell = found.top(1)[0]
    assert opened.edit(lab, cell) == found.edit(lab, cell)
    other = lab.causal_map(CLEAN, CORRUPTED, controls=0, progress=False)
    assert not opened.equal(other)
    assert not opened.equal(None)


def test_an_interrupted_map_and_one_without_controls_are_kept(lab, monkeypatch, tmp_path):
    from gemma_lab.evals.causal import patching

    calls, batch = [], patching._batch

    def interrupted(*args):
        calls.append(args)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return batch(*args)

    monkeypatch.setattr(patching, "_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lab.causal_map(CLEAN, CORRUPTED, controls=0, batch_size=8, progress=False)
    partial = lab.last_causal_map
    assert np.isnan(partial.effects()).any()
    opened = gl.open_causal_map(partial.save(tmp_path / "a.map"))
    assert opened.equal(partial)
    assert opened.draws == 0


def test_pictures_are_kept_on_request_or_passed_again(lab, tmp_path):
    red, blue = (Image.new("RGB", (96, 96), color) for color in ("red", "blue"))
    clean, corrupted = (lab.request("Which?", images=[each], max_soft_tokens=70) for each in (red, blue))
    found = lab.causal_map(clean, corrupted, answer="a", spans=40, controls=0, progress=False)
    cell = found.top(1)[0]
    with_pictures = gl.open_causal_map(found.save(tmp_path / "a.map", images=True))
    assert with_pictures.equal(found)
    assert with_pictures.edit(lab, cell) == found.edit(lab, cell)
    path = found.save(tmp_path / "b.map")
    without = gl.open_causal_map(path)
    assert without.equal(found)
    assert without.figure().png()
    with pytest.raises(LabError, match="1 media"):
        without.edit(lab, cell)
    again = gl.open_causal_map(path, requests=(clean, corrupted))
    assert again.corrupted.of_kind("image")[0].getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(LabError, match="clean request is not that of the map: other media"):
        gl.open_causal_map(path, requests=(corrupted, clean))
    for wrong in (clean, [clean], "ab", 5, (1, 2)):
        with pytest.raises(LabError, match="requests is"):
            gl.open_causal_map(path, requests=wrong)


def test_it_is_opened_without_torch(saved):
    code = (
        "import sys, gemma_lab as gl\n"
        f"found = gl.open_causal_map({str(saved)!r})\n"
        "print(found.top(1)[0].part, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(format="gemma_lab trace"), "something else"),
        (lambda m: m.update(version=2), "version 2"),
        (lambda m: m.update(version=True), "version"),
        (lambda m: m.update(extra=1), "extra"),
        (lambda m: m.pop("spans"), "spans"),
        (lambda m: m.update(spans=[]), "spans"),
        (lambda m: m.update(spans=[[0, 20], [20, 9999]]), "span"),
        (lambda m: m.update(spans=[[5, 5], [6, 7]]), "span"),
        (lambda m: m.update(tokens=m["tokens"] + 1), "rows"),
        (lambda m: m.update(tokens=10**9), "tokens"),
        (lambda m: m.update(differing=[3, 1]), "differing"),
        (lambda m: m.update(positions=[10**5]), "positions"),
        (lambda m: m.update(draws=3), "takes"),
        (lambda m: m.update(clean_logprob=1.0), "clean_logprob"),
        (lambda m: m.update(answer=[]), "answer"),
        (lambda m: m.update(answer=[-1]), "answer"),
        (lambda m: m.update(patching="both"), "patching"),
        (lambda m: m["grids"][0].update(part="mlp"), "contradict"),
        (lambda m: m["grids"][0].update(columns=3), "columns"),
        (lambda m: m["grids"].reverse(), "order"),
        (lambda m: m["grids"][1].update(layers=[5, 4, 3, 2, 1, 0]), "ascending"),
        (lambda m: m.update(active_edit={"ablate_experts": {"x": [1]}}), "edit"),
        (lambda m: m.update(active_edit={"run": "code"}), "edit"),
        (lambda m: m.update(images=1), "lacks images/0"),
        (lambda m: m["members"].pop("effects.safetensors"), "disagree"),
        (lambda m: m.update(answer_text="\ud800"), "surrogate"),
    ],
)
def test_manifests_that_contradict_the_file_are_refused(saved, tmp_path, change, said):
    path = rewritten(saved, tmp_path / "b.map", change)
    with pytest.raises(BadTrace, match=said):
        gl.open_causal_map(path)


def test_damaged_and_foreign_files_are_refused(lab, saved, tmp_path):
    whole, path = saved.read_bytes(), tmp_path / "b.map"
    for data in (b"", b"PK", b"\x80\x04pickle", whole[:-10], whole[: len(whole) // 2], b"x" * 1000):
        path.write_bytes(data)
        with pytest.raises(BadTrace):
            gl.open_causal_map(path)
    at = whole.index(b"residual.effects") + 400
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(BadTrace):
        gl.open_causal_map(path)
    for other in (tmp_path, tmp_path / "none.map"):
        with pytest.raises(BadTrace):
            gl.open_causal_map(other)
    with pytest.raises(BadTrace, match="causal map"):
        gl.open_causal_map(lab.trace(CLEAN).save(tmp_path / "a.trace"))
    with pytest.raises(BadTrace, match="not a valid trace"):
        gl.open_trace(saved)
    with pytest.raises(LabError):
        gl.open_causal_map(None)
    rewritten(saved, path, members={"evil.pkl": b"x"})
    with pytest.raises(BadTrace, match="evil"):
        gl.open_causal_map(path)


def test_numbers_that_no_map_has_are_refused(found, saved, tmp_path):
    with zipfile.ZipFile(saved) as opened:
        data = opened.read("effects.safetensors")
    value = found.grid("residual").effects[0, 1]
    assert data.count(value.tobytes()) >= 1
    path = rewritten(
        saved, tmp_path / "b.map",
        members={"effects.safetensors": data.replace(value.tobytes(), np.float64(np.inf).tobytes())},
    )  # fmt: skip
    with pytest.raises(BadTrace, match="infinite"):
        gl.open_causal_map(path)


def test_where_it_cannot_be_written(found, tmp_path):
    for nowhere in (tmp_path / "none" / "a.map", tmp_path, 5, None, "\0"):
        with pytest.raises(LabError):
            found.save(nowhere)
    assert not list(tmp_path.iterdir())


def test_requests_that_were_made_another_way_are_refused(lab, found, tmp_path):
    path = found.save(tmp_path / "one.map")
    clean, corrupted = (gl.Request.from_meta(each, ()) for each in found.prompts)
    assert gl.open_causal_map(path, requests=(clean, corrupted)).equal(found)
    other = dataclasses.replace(clean, max_soft_tokens=280)
    with pytest.raises(LabError, match="The clean request is not that of the map: other max_soft_tokens"):
        gl.open_causal_map(path, requests=(other, corrupted))
