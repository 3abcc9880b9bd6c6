from __future__ import annotations

import sys
from types import SimpleNamespace

import psutil
import pytest

from gemma_lab.system import hardware

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """16 GiB, 10 of them free, and an empty folder for the container's files."""
    memory = SimpleNamespace(total=16 * GIB, available=10 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(hardware, "_CGROUP", tmp_path)
    return tmp_path


def test_without_a_container_it_is_the_machines(machine):
    assert (hardware.free_ram(), hardware.total_ram()) == (10 * GIB, 16 * GIB)


def test_a_containers_limit_counts_and_its_file_cache_does_not(machine):
    (machine / "memory.max").write_text(f"{2 * GIB}\n")
    (machine / "memory.current").write_text(f"{GIB}\n")
    (machine / "memory.stat").write_text(f"anon 5\ninactive_file {GIB // 2}\n")
    assert (hardware.free_ram(), hardware.total_ram()) == (3 * GIB // 2, 2 * GIB)


def test_the_old_kind_of_container(machine):
    (machine / "memory").mkdir()
    (machine / "memory" / "memory.limit_in_bytes").write_text(str(4 * GIB))
    (machine / "memory" / "memory.usage_in_bytes").write_text(str(GIB))
    assert hardware.free_ram() == 3 * GIB


def test_no_limit(machine):
    (machine / "memory.max").write_text("max\n")
    assert hardware.total_ram() == 16 * GIB


def test_without_torch_there_is_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert [device.name for device in hardware.devices()] == ["cpu"]


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_bfloat16_from_ampere_on(monkeypatch, capability, native):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (14 * GIB, 15 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    gpu, cpu = hardware.devices()
    assert (gpu.name, gpu.kind, gpu.bfloat16, gpu.free) == ("cuda:0", "cuda", native, 14 * GIB)
    assert cpu.kind == "cpu"


def test_amount():
    assert hardware.amount(15.75 * GIB) == "15.8 GiB"
    assert hardware.amount(64 * 2**20) == "64.0 MiB"
