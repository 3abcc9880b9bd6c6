from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

import gemma_lab
from gemma_lab.cli.app import app
from gemma_lab.cli.terminal_chat import printable


def run(*arguments, **settings):
    return CliRunner().invoke(app, list(arguments), **settings)


def test_version():
    assert run("--version").stdout == f"gemma-lab {gemma_lab.__version__}\n"


def test_doctor():
    done = run("doctor", "e2b-it")
    assert done.exit_code == 0
    assert "e2b-it" in done.stdout
    assert json.loads(run("doctor", "--json").stdout)["stable"]["python"]


def test_models():
    assert "26b-a4b-it" in run("models").stdout
    rows = json.loads(run("models", "--modality", "audio", "--json").stdout)["checkpoints"]
    assert rows
    assert all("audio" in row["modalities"] for row in rows)
    assert run("models", "--size", "7B").exit_code == 1


def test_a_lab_error_is_a_message_and_exit_code_1():
    done = run("chat", "e2b-itt")
    assert done.exit_code == 1
    assert "Did you mean e2b-it" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("arguments", [("chat", "--bogus"), ("dance",)])
def test_wrong_usage_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_minis_is_registered():
    assert "train" in run("minis", "--help").stdout


def test_a_published_mini_shows_how_its_training_went(tmp_path):
    done = run("minis", "curves", "mini-moe", "--path", str(tmp_path / "curves.png"))
    assert "digits" in done.stdout
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_chat_answers_once(tiny_folder):
    arguments = ("chat", str(tiny_folder("31B")), "-p", "Hi", "--seed", "3", "--max-new-tokens", "6")
    done = run(*arguments)
    assert done.exit_code == 0
    assert done.stdout == run(*arguments).stdout  # the seed repeats it
    assert "\x1b" not in done.stdout


def test_chat_is_a_conversation(tiny_folder):
    done = run(
        "chat", str(tiny_folder("31B")), "--max-new-tokens", "4", "--temperature", "0", "--system", "Short.",
        input="one\n/new\ntwo\n/quit\n",
    )  # fmt: skip
    assert done.exit_code == 0
    assert "(a new conversation)" in done.stdout
    assert "31B" in done.stderr


def test_chat_with_a_picture(tiny_folder, tmp_path):
    from PIL import Image

    Image.new("RGB", (60, 60), "red").save(tmp_path / "red.png")
    folder, picture = str(tiny_folder("E2B")), str(tmp_path / "red.png")
    done = run("chat", folder, "-p", "What?", "--image", picture, "--max-new-tokens", "3")
    assert done.exit_code == 0
    assert run("chat", folder, "-p", "What?", "--image", "/none.png").exit_code == 1


def test_chat_with_a_video_and_sounds(tiny_folder, tmp_path):
    from PIL import Image

    pytest.importorskip("av")
    frames = [Image.new("RGB", (60, 60), (40 * n, 0, 0)) for n in range(5)]
    clip, tone = str(tmp_path / "a.gif"), str(tmp_path / "tone.wav")
    frames[0].save(clip, save_all=True, append_images=frames[1:], duration=200)
    (tmp_path / "tone.wav").write_bytes(gemma_lab.load_audio(([0.1] * 8000, 16_000)).wav())
    once = ("-p", "What?", "--temperature", "0", "--max-new-tokens", "3")
    hears, deaf = str(tiny_folder("E2B")), str(tiny_folder("31B"))
    done = run("chat", hears, *once, "--video", clip, "--audio", tone, "--audio", tone)
    assert done.exit_code == 0
    lab = gemma_lab.load(hears, device="cpu")
    said = lab.chat("What?", video=clip, audio=[tone, tone], temperature=0, max_new_tokens=3)
    assert done.stdout == f"{printable(said.text)}\n"
    for arguments, why in (
        ((deaf, "--audio", tone), "takes no sounds"),
        ((hears, "--audio", "/none.wav"), "none.wav"),
        ((hears, "--video", tone), "tone.wav"),
    ):
        done = run("chat", *arguments, input="Hi\n")  # before the conversation begins
        assert done.exit_code == 1
        assert why in done.stderr
        assert done.stdout == ""


#: The command line with a model that never ends its turn by itself.
ENDLESS = """
import gemma_lab.lab as lab

load = lab.load

def endless(*arguments, **options):
    loaded = load(*arguments, **options)
    loaded.model.generation_config.eos_token_id = None
    return loaded

lab.load = endless
from gemma_lab.cli.app import app

app()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_stops_the_answer_and_the_program_goes_on(tiny_folder):
    command = [sys.executable, "-c", ENDLESS, "chat", str(tiny_folder("31B"))]
    # all 4,000 tokens would take a minute: only an interrupt lets this test end in time
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "4000", "--seed", "5", "--temperature", "1000",
         "--top-p", "1", "--top-k", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0,
        # a job in a shell's background inherits that SIGINT is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    process.stdin.write("talk\n")
    process.stdin.flush()
    time.sleep(0.1)
    assert process.stdout.read(8)  # the prompt and the first characters of an answer
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate("/quit\n", timeout=60)
    assert "[stopped]" in out
    assert process.returncode == 0


@pytest.mark.parametrize("command", ["chat", "checkup"])
@pytest.mark.parametrize("option", ["--adapter", "--drafter", "--quantization"])
def test_a_missing_adapter_or_drafter_is_one_message(command, option):
    done = run(command, "mini-moe", option, "no-such-thing")
    assert done.exit_code == 1
    assert "no-such-thing" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize("option", ["--adapter", "--drafter", "--quantization"])
def test_a_server_is_checked_as_it_is(option):
    done = run("checkup", "--server", "http://127.0.0.1:9", option, "something")
    assert done.exit_code == 1
    assert option in done.stderr
