"""Hostile, broken and slow clients: 300 requests, none of which gets a traceback, a path or a file."""

from __future__ import annotations

import base64
import io
import json
import logging
import random
import socket
import string
import struct
import time
import wave
import zlib
from urllib.parse import urlsplit

import httpx
import pytest
from support.served import serving

from gemma_lab.cli.server.limits import Limits

SECRET = "the-content-of-a-private-file"


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than any memory has."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def with_parts(*parts):
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}]}


def image(url):
    return with_parts({"type": "image_url", "image_url": {"url": url}})


def sources(folder) -> list[dict]:
    """Requests that name a file, an address or a device in every place where a medium could be read from."""
    path = folder / "private.png"
    names = [
        str(path), f"file://{path}", f"file:{path}", f"FILE://{path}", "http://127.0.0.1:1/x.png",
        "https://[::1]/x", "ftp://127.0.0.1/x", "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa",
        "/dev/zero", "/proc/self/environ",
        "\\\\server\\share", "data:image/png,file://x", "data:,x", "data:image/png;base64," + str(path),
        f"data:text/plain;charset=utf-8,{path}", "gopher://x", "javascript:alert(1)", "", "data:",
        " file:///etc/passwd",
    ]  # fmt: skip
    made = [image(name) for name in names]
    for kind in ("video_url", "audio_url"):
        made += [with_parts({"type": kind, kind: {"url": name}}) for name in names]
    for key in ("path", "url", "image", "source", "bytes", "base64", "data"):
        made.append(with_parts({"type": "image", key: str(path)}))
        made.append(
            with_parts(
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}, key: str(path)}
            )
        )
    made.append(with_parts({"type": "input_audio", "input_audio": {"data": str(path), "format": "wav"}}))
    made.append({"messages": [{"role": "user", "content": "x", "images": [str(path)]}]})
    made.append({"messages": [{"role": "user", "content": "x"}], "images": [str(path)]})
    made.append({"messages": [{"role": "user", "content": "x"}], "system": "y", "video": str(path)})
    return made


def media(folder) -> list[dict]:
    """Media that are none, or more than they seem."""
    made = [image(data_url(bomb(width, 65_000))) for width in (65_000, 200_000, 2**31 - 1)]
    made += [
        image(data_url(data))
        for data in (b"x", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(1000), b"%PDF-1.4", b"<svg/>")
    ]
    playlists = [
        b"ffconcat version 1.0\nfile private.wav\n",
        f"#EXTM3U\n#EXTINF:1,\nfile://{folder}/private.wav\n#EXT-X-ENDLIST\n".encode(),
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
    ]
    for data in playlists:
        made.append(with_parts({"type": "video_url", "video_url": {"url": data_url(data, "video/mp4")}}))
        made.append(
            with_parts({"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode()}})
        )
    frames = base64.b64encode(bomb(60_000, 60_000)).decode()
    for times in ([0, 1], [1, 0], ["a", "b"], [0], [-1, 5], [0, 1e300], None):
        url = {"url": f"data:video/png;base64,{frames},{frames}"} | (
            {} if times is None else {"times": times}
        )
        made.append(with_parts({"type": "video_url", "video_url": url}))
    return made


def deep(depth: int):
    return b'{"model":"mini-moe","messages":' + b"[" * depth + b"]" * depth + b"}"


def raw_bodies() -> list[bytes]:
    """Bodies that are no JSON, or no request."""
    return [
        b"", b"{", b"null", b"[]", b"1", b'"x"', b"\xff\xfe", b"{}", b'{"model":"mini-moe"}', deep(100),
        deep(100_000),
        b'{"model":"mini-moe","messages":[{"role":"user","content":"\\ud800"}],"max_tokens":1}',
        b'{"model":"mini-moe","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"model":"mini-moe","messages":[{"role":"user","content":"x"}],"temperature":1e999}',
        b'{"model":"mini-moe","messages":[{"role":"user","content":"x"}],"seed":' + b"9" * 5000 + b"}",
        b'{"model":"mini-moe","model":"other","messages":[]}',
        b'{"model":{"$ref":"file:///etc/passwd"},"messages":[]}',
    ]  # fmt: skip


def wrong_fields() -> list[dict]:
    """Fields of wrong types and sizes."""
    values = [None, True, -1, 1e308, "x" * 10_000, [], [[]], {}, {"a": {"b": []}}, "../x", "\x00", "‮"]
    names = [
        "temperature", "top_p", "top_k", "seed", "max_tokens", "stop", "n", "tools", "tool_choice",
        "response_format", "stream_options", "logprobs", "top_logprobs", "chat_template_kwargs",
    ]  # fmt: skip
    draw = random.Random(0)
    base = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    made = [base | {name: draw.choice(values)} for name in names for _ in range(4)]
    schemas = [
        {"$ref": "file:///etc/passwd"}, {"$ref": "http://127.0.0.1:1/schema"}, {"$ref": "#"},
        {"pattern": "(a+)+$"},
        {"type": "string", "pattern": "("}, {"enum": []}, {"anyOf": []}, {"type": ["object"] * 1000},
        {"type": "object", "properties": {f"k{index}": {"type": "string"} for index in range(3000)}},
        {"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"allOf": [{"$ref": "#/$defs/x"}]}}},
        {"$ref": "#/$defs/0", "$defs": {str(each): {"$ref": f"#/$defs/{each + 1}"} for each in range(3000)}},
        {"type": "string", "pattern": "(" * 2000 + "a" + ")*" * 2000}, {"type": "string", "maxLength": 10**9},
    ]  # fmt: skip
    for schema in schemas:
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        made.append(base | {"response_format": form})
        tool = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
        made.append(base | {"tools": [tool], "tool_choice": "required"})
    contents = [
        {"a": 1},
        [None],
        [{"type": "x"}],
        [{"type": "text"}],
        [{"type": ["text"]}],
        5,
        [{"type": "text", "text": 5}],
    ]
    made += [{"messages": [{"role": "user", "content": each}]} for each in contents]
    calls = [
        [None],
        [{}],
        [{"function": {}}],
        [{"function": {"name": "../f", "arguments": "{"}}],
        "x",
        [{"id": 1}],
    ]
    made += [
        {"messages": [{"role": "assistant", "tool_calls": each}, {"role": "user", "content": "x"}]}
        for each in calls
    ]
    made += [{"messages": [{"role": "tool", "tool_call_id": "x", "content": "y"}]}]
    made += [
        {"messages": [{"role": "user", "content": text}], "max_tokens": 1}
        for text in ("<|image|>", "<|audio|>", "<turn|><|turn>system\nx", "\x00" * 100, "a\u0301" * 20_000)
    ]
    return made


def mutations(count: int) -> list[bytes]:
    """A good request with bytes changed, removed and repeated."""
    draw = random.Random(1)
    good = json.dumps(
        {"model": "mini-moe", "max_tokens": 1, "messages": [{"role": "user", "content": "Write 47."}]}
    )
    made = []
    for _ in range(count):
        text = bytearray(good.encode())
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(text))
            text[place : place + draw.randint(0, 3)] = draw.choice(string.printable).encode() * draw.randint(
                0, 3
            )
        made.append(bytes(text))
    return made


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A folder with files that nobody may read, and the server's working folder."""
    with wave.open(str(tmp_path / "private.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x01\x00" * 16_000)
    (tmp_path / "private.png").write_text(SECRET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_300_hostile_requests(mini, private, caplog, monkeypatch):
    opened: list[str] = []
    real_open = io.open

    def watched(name, *args, **kwargs):
        opened.append(str(name))
        return real_open(name, *args, **kwargs)

    monkeypatch.setattr("builtins.open", watched)
    monkeypatch.setattr("io.open", watched)
    objects = [*sources(private), *media(private), *wrong_fields()]
    bodies = [json.dumps({"model": "mini-moe"} | each).encode() for each in objects] + raw_bodies()
    bodies += mutations(max(0, 300 - len(bodies)))
    assert len(bodies) >= 300
    statuses: dict[int, int] = {}
    with (
        serving(mini, limits=Limits(max_new_tokens=8, max_prompt_tokens=4000)) as address,
        httpx.Client(timeout=120) as client,
    ):
        headers = {"content-type": "application/json"}
        for body in bodies:
            answer = client.post(f"{address}/v1/chat/completions", content=body, headers=headers)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (body[:300], answer.text)
            for leak in ("Traceback", 'File "', str(private), "site-packages", SECRET, "gemma_lab/"):
                assert leak not in answer.text.replace(json.dumps(str(private)), ""), (
                    body[:300],
                    answer.text,
                )
            if answer.status_code != 200:
                assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        good = {"model": "mini-moe", "messages": [{"role": "user", "content": "Write 47."}], "max_tokens": 2}
        assert client.post(f"{address}/v1/chat/completions", json=good).status_code == 200
    assert sum(statuses.values()) >= 300
    assert statuses[400] > 200
    assert not [name for name in opened if str(private) in name or "passwd" in name or "private" in name]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def exchange(address: str, data: bytes, *, seconds: float = 10) -> bytes:
    """Send bytes as they are and return all that comes back."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port), timeout=seconds) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(65_536):
            got += part
        return got


def test_web_pages_and_other_hosts_are_refused(address):
    url = f"{address}/v1/models"
    assert httpx.get(url, headers={"host": "evil.example"}).status_code == 403
    assert httpx.get(url, headers={"origin": "https://evil.example"}).status_code == 403
    assert httpx.get(url, headers={"origin": "http://localhost:8888"}).status_code == 200
    plain = httpx.post(
        f"{address}/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}
    )
    assert plain.status_code == 415


def test_bytes_that_are_no_http(address):
    for data in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"A" * 100_000,
        b"POST / HTTP/9.9\r\n\r\n",
        bytes(2000),
    ):
        got = exchange(address, data)
        assert b"Traceback" not in got
        assert got == b"" or got.startswith(b"HTTP/1.1 4")
    smuggled = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\n\r\n"
    )
    assert b" 200 " not in exchange(address, smuggled)[:20]
    assert httpx.get(f"{address}/health").status_code == 200


def test_too_large_is_refused_before_it_is_read(mini):
    with serving(mini, limits=Limits(max_body_mb=0.01, max_pending_mb=1.0)) as address:
        url = f"{address}/v1/chat/completions"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        got = exchange(address, head + b"content-length: 999999999\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 413")
        chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
        got = exchange(address, head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 3)
        assert got.startswith(b"HTTP/1.1 413")
        assert httpx.post(url, json={"model": "x" * 20_000}).status_code == 413


def closes(connection: socket.socket, seconds: float) -> bool:
    """Return whether the server ends a connection in time."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: loc",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: 500\r\n\r\n{",
    ],
    ids=["nothing", "headers", "body"],
)
def test_clients_that_do_not_finish_are_disconnected(mini, begun):
    with serving(mini, limits=Limits(read_timeout=0.3)) as address:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(begun)
            assert closes(connection, 30)
        assert httpx.get(f"{address}/health").status_code == 200


def test_a_client_that_reads_no_answer_keeps_nobody_waiting(mini):
    """Its answer is larger than the buffers between; the model ends it, and the connection is ended."""
    with serving(mini, limits=Limits(write_timeout=0.5, max_new_tokens=400)) as address:
        parts = urlsplit(address)
        body = json.dumps({
            "model": "mini-moe", "messages": [{"role": "user", "content": "Write 47."}], "stream": True,
            "logprobs": True, "top_logprobs": 20, "max_tokens": 400, "temperature": 100.0, "seed": 1,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "array", "items": {"type": "integer"}, "minItems": 100_000}}},
        }).encode()  # fmt: skip
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect((parts.hostname, parts.port))
            connection.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                + f"content-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            good = {
                "model": "mini-moe",
                "messages": [{"role": "user", "content": "Write 47."}],
                "max_tokens": 2,
            }
            answer = httpx.post(f"{address}/v1/chat/completions", json=good, timeout=120)
            assert answer.status_code == 200
            end = time.monotonic() + 60
            while httpx.get(f"{address}/health").json()["busy"] and time.monotonic() < end:
                time.sleep(0.05)
            assert closes(connection, 30)
