"""Every step of the GPU check on the CPU, with tiny layers: all its names are right before a GPU runs it."""

from __future__ import annotations

import math

import pytest
import torch
from support import shapes

from gemma_lab.errors import LabError
from gemma_lab.family.architecture import configuration
from gemma_lab.system.hardware import Device
from tools.bench.results import read
from tools.gpu_check import __main__ as command
from tools.gpu_check import layers, minis
from tools.gpu_check.figure import Figure, Measured, ratio_figures

CPU = torch.device("cpu")


def tiny(size):
    return shapes.tiny_config(size).to_dict()


@pytest.fixture(scope="module")
def experts_lab():
    return layers.random_lab("tiny", _with_vocabulary(tiny("26B-A4B")), CPU, 6, torch.float32)


def _with_vocabulary(config):
    """The random prompts and the minis' tokenizer have more tokens than the tiny checkpoints."""
    config["text_config"]["vocab_size"] = 32_768
    return config


def by_row(figures):
    found = {}
    for figure in figures:
        found.setdefault(figure.row, []).append(figure)
    return found


def test_without_a_gpu_it_says_so_and_ends_well(monkeypatch, capsys):
    cpu = Device("cpu", "CPU", bfloat16=False, total=1, free=1)
    monkeypatch.setattr(command, "devices", lambda: (cpu,))
    assert command.main([]) == 0
    assert "No GPU" in capsys.readouterr().out


def test_an_unknown_step_is_refused(capsys):
    with pytest.raises(SystemExit) as error:
        command.main(["--device", "cpu", "--only", "nothing"])
    assert error.value.code == 2
    assert "nothing" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_refused(monkeypatch, capsys):
    here = Device("cuda:0", "Tesla T4", bfloat16=False, total=1, free=1)
    monkeypatch.setattr(command, "devices", lambda: (here,))
    with pytest.raises(SystemExit):
        command.main(["--device", "cuda:3"])
    assert "cuda:0" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--device", "cuda"], ["--device", "cuda:1"]])
def test_a_gpu_is_taken_by_its_kind_or_its_name(monkeypatch, arguments):
    gpus = [Device(f"cuda:{one}", "Tesla T4", bfloat16=False, total=2**34, free=2**34) for one in (0, 1)]
    seen = []
    monkeypatch.setattr(command, "devices", lambda: tuple(gpus))
    monkeypatch.setattr(command, "exactness", lambda device: iter(seen.append(device) or ()))
    assert command.main([*arguments, "--only", "exactness"]) == 0
    assert seen == [torch.device(arguments[1] if arguments[1:] == ["cuda:1"] else "cuda:0")]
    assert command.device_name("cuda:0").startswith("Tesla T4, 16.0 GiB")


def test_a_failed_step_is_reported_and_the_others_go_on(monkeypatch, capsys):
    def broken():
        yield Figure("first", "a", 1.0)
        raise RuntimeError("CUDA error")

    def lacking():
        raise LabError("No such library.")
        yield

    steps = {"broken": broken, "lacking": lacking, "good": lambda: iter([Figure("last", "b", 2.0)])}
    figures, failed = command.run(steps, 1e9)
    assert [figure.row for figure in figures] == ["first", "last"]
    assert failed == ["broken"]
    assert "CUDA error" in capsys.readouterr().out


def test_no_step_begins_after_the_time_is_over():
    figures, failed = command.run({"late": lambda: iter([Figure("row", "", 1.0)])}, -1.0)
    assert (figures, failed) == ([], [])


def test_what_must_be_exact_and_is_not_ends_with_an_error(monkeypatch):
    for value, status in ((0.0, 0), (0.5, 1)):
        monkeypatch.setattr(
            command, "exactness", lambda device, v=value: iter([Figure("a", "b", v, "", "= 0")])
        )
        assert command.main(["--device", "cpu", "--only", "exactness"]) == status
    slow = Figure("a", "b", 9.0, "×", "≤ 1.5")
    monkeypatch.setattr(command, "exactness", lambda device: iter([slow]))
    assert slow.met is False
    assert command.main(["--device", "cpu", "--only", "exactness"]) == 0


def test_results_of_a_device_replace_its_earlier_ones_and_no_others(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "build").mkdir()
    for title, value in (("H200, 139 GiB", 1.0), ("T4, 15 GiB", 2.0), ("H200, 139 GiB", 3.0)):
        command.keep_figures([Figure("gpu-decode", "31B", value, "tokens/s")], title, tmp_path)
    kept, _ = read(tmp_path / "docs" / "benchmarks.jsonl")
    assert sorted((one.case, one.measured) for one in kept) == [("H200: 31B", 3.0), ("T4: 31B", 2.0)]
    page = (tmp_path / "docs" / "benchmarks.md").read_text("utf-8")
    assert "H200, 139 GiB" in page
    assert "T4: 31B" in page


def test_ratios_are_of_the_recorded_to_the_plain_way():
    figures = list(ratio_figures("x", "c", Measured(2.0, 100), Measured(3.0, 120), time_target="≤ 1.5"))
    assert [(one.row, one.value, one.met) for one in figures] == [
        ("gpu-x-time", 1.5, True),
        ("gpu-x-memory", 1.2, True),
    ]
    assert [one.row for one in ratio_figures("x", "c", Measured(1, 0), Measured(1, 0), time_target="")] == [
        "gpu-x-time"
    ]


def test_a_mini_is_compared_with_itself_on_the_cpu_without_a_difference(monkeypatch):
    monkeypatch.setattr(minis, "MINIS", ("mini-moe",))
    monkeypatch.setattr(minis, "DTYPES", (torch.float32,))
    rows = by_row(minis.exactness(CPU))
    assert set(rows) == {
        "gpu-repeated", "gpu-traced", "gpu-traced-answers", "gpu-greedy", "gpu-logits", "gpu-experts",
        "gpu-attention",
    }  # fmt: skip
    assert all(figure.met is not False for figures in rows.values() for figure in figures)
    assert rows["gpu-logits"][0].value == 0
    assert rows["gpu-attention"][0].value == 0


def test_speed_and_every_quantisation_that_is_here(monkeypatch, capsys):
    monkeypatch.setattr(minis, "DTYPES", (torch.float32,))
    (speed,) = minis.speed(CPU, seconds=0.1)
    assert speed.value > 0
    figures = list(minis.quantised(CPU))
    said = capsys.readouterr().out
    names = {figure.case.rpartition(", ")[2] for figure in figures}
    assert {"int8-g32", "int4-g32"} <= names
    for name in set(minis.load_method_names()) - names:
        assert f"{name}: not run." in said
    assert all(0 <= figure.value <= 1 for figure in figures)


@pytest.mark.parametrize("size", ["26B-A4B", "31B"])
def test_capture_is_measured_against_sdpa_and_every_other_kernel(monkeypatch, capsys, size):
    lab = layers.random_lab("tiny", _with_vocabulary(tiny(size)), CPU, 6, torch.float32)
    monkeypatch.setattr(layers, "_flash_kernels", lambda device: ["eager", "flash_attention_2"])
    kernel = lab.text_config._attn_implementation
    rows = by_row(layers.captured(lab, CPU, 48))
    wanted = {"gpu-prefill", "gpu-attention-time", "gpu-attention-eager-time"}
    assert set(rows) == wanted | ({"gpu-routing-time"} if size == "26B-A4B" else set())
    assert "flash_attention_2: not run." in capsys.readouterr().out
    assert lab.text_config._attn_implementation == kernel


def test_decoding_leaves_the_prefill_out(experts_lab):
    figures = list(layers.decoded(experts_lab, CPU))
    assert all(figure.row == "gpu-decode" and figure.value > 0 for figure in figures)


def test_batches_of_a_survey_are_timed_and_route_as_single_prompts_do(experts_lab):
    rows = by_row(layers.batched(experts_lab, CPU, prompts=4, batches=(1, 4)))
    assert [figure.case.rpartition(" ")[2] for figure in rows["gpu-survey"]] == ["1", "4"]
    (same,) = rows["gpu-survey-experts"]
    assert same.value > 0.99


def test_layers_are_as_many_as_fit_and_end_in_a_global_one(monkeypatch, capsys):
    config = _with_vocabulary(tiny("31B"))
    whole = layers.random_lab("tiny", config, CPU, 6, torch.float32)
    weights = 4 * sum(one.numel() for one in whole.model.parameters())

    def room(count):
        return lambda: (Device("cpu", "CPU", bfloat16=False, total=count, free=count),)

    monkeypatch.setattr(layers, "devices", room(math.ceil(weights * 2 * 0.98)))
    fewer = layers.random_lab("tiny", config, CPU, 6, torch.float32)
    assert 1 <= fewer.text_config.num_hidden_layers < whole.text_config.num_hidden_layers
    assert fewer.text_config.layer_types[-1] == "full_attention"
    assert "instead of 6 layers" in capsys.readouterr().out
    monkeypatch.setattr(layers, "devices", room(1024))
    with pytest.raises(LabError):
        layers.random_lab("tiny", config, CPU, 6, torch.float32)


def test_the_sizes_are_built_from_the_published_configurations(monkeypatch):
    """Shapes of one true layer, without its weights."""
    for size, width in (("26B-A4B", 2816), ("31B", 5376)):
        short = layers._shortened(configuration(size), 1)
        assert short["text_config"]["hidden_size"] == width
        assert short["text_config"]["layer_types"] == ["full_attention"]
        assert configuration(size)["text_config"]["num_hidden_layers"] > 1  # the original is unchanged
