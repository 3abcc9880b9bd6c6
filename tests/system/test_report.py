from __future__ import annotations

import json
import sys

import pytest

from gemma_lab.errors import UnknownModel
from gemma_lab.family.architecture import get_architecture
from gemma_lab.planning.local import local_hardware, local_plan
from gemma_lab.system import hardware, report
from gemma_lab.system.hardware import Device
from gemma_lab.system.report import doctor

GIB = 2**30


def _machine(monkeypatch, *, gpu_free=None, bfloat16=True, ram_free=8 * GIB):
    cpu = Device("cpu", "CPU", bfloat16=False, total=16 * GIB, free=ram_free)
    gpu = () if gpu_free is None else (Device("cuda:0", "Tesla T4", bfloat16, 16 * GIB, gpu_free),)
    monkeypatch.setattr(hardware, "devices", lambda: (*gpu, cpu))


def test_what_fits_is_what_a_plan_says(monkeypatch):
    model = get_architecture("E2B")
    for free in (2, 11, 16):
        _machine(monkeypatch, ram_free=free * GIB)
        (fit,) = doctor("e2b-it").fits
        here = local_hardware(kind="cpu", label="CPU", total=16 * GIB, free=free * GIB)
        for name, runtime in (("bf16", "transformers"), ("Q4_0", "llama.cpp")):
            made = local_plan(model, hardware=here, quantization=name, runtime=runtime)
            assert fit.needs[name] == round(made.needed_bytes)
            assert fit.context[name] == made.longest_context
    assert fit.context["bf16"] > 8192
    _machine(monkeypatch, ram_free=2 * GIB)
    assert doctor("e2b-it").fits[0].context["bf16"] == 0
    assert "no (" in str(doctor("e2b-it"))


def test_every_size_has_a_row(monkeypatch):
    _machine(monkeypatch)
    names = [fit.name for fit in doctor().fits]
    assert set(names) >= {"e2b-it", "e4b-it", "12b-it", "26b-a4b-it", "31b-it"}


@pytest.mark.parametrize(
    ("gpu", "dtype"),
    [
        ({"gpu_free": 15 * GIB, "bfloat16": True}, "bfloat16"),
        ({"gpu_free": 15 * GIB, "bfloat16": False}, "float32 (bfloat16 if that does not fit)"),
        ({}, "float32 (bfloat16 if that does not fit)"),
    ],
)
def test_dtype(monkeypatch, gpu, dtype):
    _machine(monkeypatch, **gpu)
    assert doctor().dtype == dtype


def test_the_repr_is_one_line_and_does_not_change_with_free_memory(monkeypatch):
    _machine(monkeypatch, ram_free=8 * GIB)
    before = doctor()
    _machine(monkeypatch, ram_free=5 * GIB)
    after = doctor()
    assert repr(before) == repr(after)
    assert "\n" not in repr(before)
    assert before.to_dict()["stable"] == after.to_dict()["stable"]
    assert before.to_dict()["now"] != after.to_dict()["now"]
    json.dumps(before.to_dict())


def test_no_secret_is_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    report = doctor()
    assert report.token is True
    shown = f"{report!r}{report}{report._repr_html_()}{json.dumps(report.to_dict())}"
    assert "verysecret" not in shown
    assert "HF_TOKEN" in str(report)


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("COLAB_RELEASE_TAG", "release", "Colab"),
        ("KAGGLE_KERNEL_RUN_TYPE", "Interactive", "Kaggle"),
        ("BINDER_SERVICE_HOST", "10.0.0.1", "Binder"),
        ("CI", "true", "CI"),
        ("CI", "", "local"),
    ],
)
def test_where(monkeypatch, name, value, place):
    for variable in (
        "COLAB_RELEASE_TAG",
        "KAGGLE_KERNEL_RUN_TYPE",
        "BINDER_SERVICE_HOST",
        "BINDER_REPO_URL",
        "CI",
    ):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, value)
    assert report.where() == place


@pytest.mark.parametrize(("value", "forbidden"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_offline(monkeypatch, value, forbidden):
    monkeypatch.setenv("GEMMA_LAB_OFFLINE", value)
    assert report.offline() is forbidden
    assert doctor().offline is forbidden


def test_it_works_without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    report = doctor()
    assert report.best.name == "cpu"
    assert any("does not load" in line for line in report.advice)
    assert "What fits on this machine" in report._repr_html_()


def test_what_is_missing_is_said_with_the_command(monkeypatch):
    versions = {"torch": "2.9.0", "torchvision": None, "transformers": "5.9.1"}
    monkeypatch.setattr(report, "_version", lambda name: versions.get(name, "1.0"))
    advice = " ".join(doctor().advice)
    assert "pip install torchvision" in advice
    assert "transformers is 5.9.1" in advice


def test_an_unknown_model_gets_suggestions():
    with pytest.raises(UnknownModel, match="26b-a4b-it"):
        doctor("26b-a4b-itt")


def test_the_cache_folder_follows_the_hubs_rules(monkeypatch, tmp_path):
    from huggingface_hub import constants

    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert str(report.hub_cache()).endswith("huggingface/hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert report.hub_cache() == tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert report.hub_cache() == tmp_path / "elsewhere"
    assert constants.HF_HUB_CACHE  # the name that these rules are copied from still exists
