from __future__ import annotations

import errno
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from gemma_lab.system import hardware, memory_limits
from gemma_lab.system.out_of_memory import is_out_of_memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """16 GiB, 10 of them free, and an empty folder for the container's files."""
    memory = SimpleNamespace(total=16 * GIB, available=10 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(memory_limits, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory_limits, "_OWN_CGROUPS", tmp_path / "none")
    monkeypatch.setattr(memory_limits, "_process_limits", lambda: iter(()))
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


@pytest.mark.parametrize(
    ("line", "folder"), [("0::/job/step\n", ""), ("9:cpu:/x\n4:memory:/job/step\n", "memory")]
)
def test_the_lowest_limit_of_the_groups_around_the_process_counts(machine, monkeypatch, line, folder):
    (machine / "own").write_text(line)
    monkeypatch.setattr(memory_limits, "_OWN_CGROUPS", machine / "own")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if folder else ("memory.max", "memory.current")
    for path, limit, used in (("job/step", 6, 1), ("job", 4, 3)):
        group = machine / folder / path
        group.mkdir(parents=True, exist_ok=True)
        (group / names[0]).write_text(str(limit * GIB))
        (group / names[1]).write_text(str(used * GIB))
    assert (hardware.free_ram(), hardware.total_ram()) == (GIB, 4 * GIB)


def test_the_limits_of_the_process_count():
    resource = pytest.importorskip("resource")
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({3 * GIB}, resource.RLIM_INFINITY))\n"
        "from gemma_lab.system import hardware\n"
        "print(hardware.free_ram(), hardware.total_ram())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    free, total = map(int, out.split())
    assert 0 < free < 3 * GIB
    assert total <= 3 * GIB
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 3 * GIB


def test_errors_of_memory_are_recognised():
    import torch

    ran_out = (MemoryError(), torch.OutOfMemoryError("x"), OSError(errno.ENOMEM, "x"),
               RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
               RuntimeError("unable to mmap 5 bytes from file <a>: Cannot allocate memory (12)"))  # fmt: skip
    assert all(is_out_of_memory(error) for error in ran_out)
    assert not any(is_out_of_memory(error) for error in (ValueError("x"), OSError(errno.ENOENT, "x")))


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
