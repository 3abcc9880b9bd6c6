"""`gemma-lab serve` as a process: where it listens, when it refuses, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from support.served import serving
from typer.testing import CliRunner

import gemma_lab as gl
from gemma_lab.cli.app import app
from gemma_lab.cli.server.command import check_address, is_loopback
from gemma_lab.cli.server.limits import Limits
from gemma_lab.errors import LabError

GOOD = "a-token-of-enough-length"


def test_others_need_a_token():
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert is_loopback(host)
        check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        assert not is_loopback(host)
        with pytest.raises(LabError):
            check_address(host, None)
        check_address(host, GOOD)
    for token in ("", "short", "ü" * 20, "a\n" * 20):
        with pytest.raises(LabError):
            check_address("127.0.0.1", token)
    done = CliRunner().invoke(app, ["serve", "mini-moe", "--host", "0.0.0.0"])
    assert done.exit_code == 1


def test_a_taken_port(mini):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LabError):
            gl_serve(mini, port=taken.getsockname()[1])


def gl_serve(lab, **options):
    from gemma_lab.cli.server.command import serve

    serve(lab, **options)


def test_limits_are_checked():
    for wrong in ({"max_queue": 0}, {"max_body_mb": -1}, {"read_timeout": "x"}, {"max_prompt_tokens": 0}):
        with pytest.raises(LabError):
            Limits(**wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of another process")
def test_a_process_serves_and_ends_cleanly_while_it_answers():
    """An interrupt cuts the running answer after the grace, and the process ends without a traceback."""
    program = [sys.executable, "-c", "from gemma_lab.cli.app import app; app()", "serve", "mini-moe"]
    process = subprocess.Popen(
        [*program, "--port", "0", "--grace", "1", "--device", "cpu"],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines: list[str] = []
    try:
        while "at http" not in (lines[-1] if lines else ""):
            lines.append(process.stderr.readline())
            assert process.poll() is None, lines
        address = lines[-1].split(" at ")[1].split(" ")[0]
        reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        reader.start()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if httpx.get(f"{address}/models").status_code == 200:
                    break
            except httpx.ConnectError:
                time.sleep(0.05)
        body = {
            "model": "mini-moe", "messages": [{"role": "user", "content": "Write."}], "stream": True,
            "max_tokens": 4000, "temperature": 100.0, "seed": 1,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "array", "items": {"enum": [1, 2]}, "minItems": 100_000}}},
        }  # fmt: skip
        with httpx.stream("POST", f"{address}/chat/completions", json=body, timeout=60) as response:
            pieces = response.iter_lines()
            while '"content":"[' not in next(pieces):
                pass
            process.send_signal(signal.SIGINT)
            rest = "".join(pieces)
        assert "server_stopped" in rest  # an answer that was cut does not look complete
        assert rest.endswith("data: [DONE]")
        assert process.wait(60) in (0, 1, 130, -signal.SIGINT)
        reader.join(10)
        assert not [line for line in lines if "Traceback" in line or "Exception" in line], lines
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_many_clients_and_a_full_queue(mini):
    """Every request is answered: as many as fit with an answer, the others with 429; none is lost."""
    ask = {"model": "mini-moe", "messages": [{"role": "user", "content": "Write 47."}], "max_tokens": 2}
    statuses: list[int] = []
    with serving(mini, limits=Limits(max_queue=5)) as address:

        def client():
            with httpx.Client(timeout=300) as one:
                for _ in range(3):
                    statuses.append(one.post(f"{address}/v1/chat/completions", json=ask).status_code)

        threads = [threading.Thread(target=client) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert not any(thread.is_alive() for thread in threads)
        assert len(statuses) == 60
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 6
        assert httpx.get(f"{address}/health").json() == {"status": "ok", "busy": False, "waiting": 0}
        answers = []
        lab = gl.connect(address)  # waits and asks again

        def patient():
            answers.append(lab.chat("Write 47.", temperature=0, max_new_tokens=2).new_tokens)

        threads = [threading.Thread(target=patient) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
        assert answers == [2] * 8


def test_the_checkup_of_a_served_mini_is_the_local_one(mini):
    skills = ["digits", "motion", "tools"]
    local = mini.checkup(skills=skills, progress=False)
    with serving(mini) as address:
        served = gl.connect(address).checkup(skills=skills, progress=False)
        wrong = CliRunner().invoke(app, ["checkup", "mini-moe", "--server", address])
        named = CliRunner().invoke(app, ["checkup", "--model", "mini-moe"])
        done = CliRunner().invoke(
            app, ["checkup", "--server", address, "--model", "mini-moe", "--skill", "numbers", "--json"]
        )
    assert [each.right for each in served.answers] == [each.right for each in local.answers]
    spoken = [(one.reply, other.reply) for one, other in zip(served.answers, local.answers, strict=True)]
    assert all(one == other for one, other in spoken)
    assert served.to_dict()["skills"] == local.to_dict()["skills"]
    assert (wrong.exit_code, named.exit_code) == (1, 1)
    assert '"numbers"' in done.stdout
